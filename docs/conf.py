"""Sphinx configuration: `make docs` builds the pages into docs/_build/html."""

from skst import __version__

project = "skst"
author = "the skst developers"
release = version = __version__

extensions = ["sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "Tissue domains and cell types, with what language models know of genes"}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}

autodoc_member_order = "bysource"
# docstrings tell the types, in words
autodoc_typehints = "none"
# scikit-learn makes these, and their text refers to its glossary
autodoc_default_options = {
    "exclude-members": "set_output, set_fit_request, set_predict_request, set_transform_request, get_metadata_routing"
}
# methods are shown by autodoc; numpydoc's own tables of them would need a page each
numpydoc_show_class_members = False
