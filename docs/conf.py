"""Sphinx configuration: `make docs` builds the pages into docs/_build/html, with no network."""

import sys
from pathlib import Path

import matplotlib

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

from inventories import local_inventories  # noqa: E402

from skst import __version__  # noqa: E402

matplotlib.use("agg")

project = "skst"
author = "the skst developers"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "numpydoc",
    # of docs/_ext
    "benchmark_tables",
    "front_pictures",
    "lessons",
    "mathml",
    "versions",
]
exclude_patterns = ["_build", "_ext", "_inventories", "auto_examples/**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "skst"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_favicon = "_static/logo.svg"
html_context = {"default_mode": "auto"}
# the report that front_pictures makes
(HERE / "_generated" / "extra").mkdir(parents=True, exist_ok=True)
html_extra_path = ["_generated/extra"]
html_css_files = ["skst.css"]
html_js_files = ["sortable.js"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "install": [], "faq": [], "teach": [], "numbers": []}
html_theme_options = {
    "logo": {"text": "skst", "image_light": "_static/logo.svg", "image_dark": "_static/logo.svg", "alt_text": ""},
    "navbar_end": ["versions.html", "theme-switcher"],
    "navbar_persistent": ["search-button"],
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 7,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = f"{author}, BSD 3-Clause. Version {release}"

autosummary_generate = True
autodoc_member_order = "bysource"
# docstrings tell the types, in words
autodoc_typehints = "none"
# scikit-learn makes these, and their text refers to its glossary
of_scikit_learn = ["set_output", "get_metadata_routing", "get_params", "set_params"] + [
    f"set_{method}_request" for method in ("fit", "fit_transform", "predict", "transform", "score", "inverse_transform")
]
autodoc_default_options = {"exclude-members": ", ".join(of_scikit_learn)}
# pages of the guide that the page of an estimator leads to
autosummary_context = {
    "guides": {
        "SpaLLMFusion": ["how_it_works", "controls", "selection"],
        "SemSTClusterer": ["semst", "inspection"],
        "STLLMClusterer": ["stllm", "controls"],
        "LLMDSCClusterer": ["cell_types", "settings"],
        "SpatialGraphTransformer": ["data", "encoders"],
        "GeneTextEncoder": ["text", "controls"],
        "SpatialGraphLearner": ["stllm"],
        "TissueNarrator": ["stllm"],
    }
}
toc_object_entries_show_parents = "hide"
# methods stand on the page of their class; numpydoc's own tables of them would need a page each
numpydoc_show_class_members = False

# What is written of other packages links to their pages; nothing is asked of the network for it.
intersphinx_mapping = local_inventories(HERE / "_inventories", HERE / "_build" / "inventories")

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("skst",),
    "reference_url": {"skst": None},
    "reset_argv": "gallery_scripts.arguments_of",
    "subsection_order": "gallery_scripts.section_place",
    "within_subsection_order": "gallery_scripts.example_place",
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
    "plot_gallery": "True",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "min_reported_time": 1e9,
    "write_computation_times": False,
    "nested_sections": True,
    "matplotlib_animations": False,
    "image_srcset": ["2x"],
}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = "$ "
