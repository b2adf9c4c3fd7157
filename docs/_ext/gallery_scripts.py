"""Order and arguments of the gallery's scripts."""

import tempfile
from pathlib import Path

# Folders of examples/, and the scripts in them, from the first steps to the last.
ORDER = {
    "tissue": [
        "plot_ten_lines",
        "plot_choosing_k",
        "plot_nested_domains",
        "plot_cells_or_domains",
        "plot_spatial_graph_transformer",
        "plot_write_and_plot",
        "plot_use_rep",
        "plot_grid_search",
        "plot_encoders",
        "plot_semst_clusterer",
        "plot_own_graph_network",
    ],
    "text": [
        "plot_control_experiment",
        "plot_gene_text_encoder",
        "plot_spallm_fusion",
        "plot_semantic_permutation_test",
        "plot_modulation",
        "plot_stllm_clusterer",
        "plot_own_text_model",
    ],
    "cells": ["plot_llmdsc_clusterer", "plot_annotation"],
    "slices": ["plot_several_slices", "plot_bad_slice", "plot_samples", "plot_slices_in_files"],
}


def section_place(folder):
    """Place of a folder of examples."""
    return [*ORDER].index(Path(folder).name)


def example_place(name):
    """Place of a script within its folder."""
    places = {f"{script}.py": place for scripts in ORDER.values() for place, script in enumerate(scripts)}
    return places.get(Path(name).name, len(places))


def arguments_of(gallery_conf, script_vars):
    """Command line of a script: what the demo saves goes to a folder that nobody looks into."""
    if Path(script_vars["src_file"]).name == "demo_osmfish.py":
        return ["--output", tempfile.mkdtemp(prefix="skst-demo-")]
    return []
