"""Pictures of the front page, drawn before pages are read: on public data where they are at hand, else simulated."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.manifold import TSNE

from skst import SpaLLMFusion, report
from skst.datasets import fetch_dlpfc, get_data_home, make_spatial_domains
from skst.palette import PALETTE
from skst.plotting import plot_domains

FOLDER = Path(__file__).parents[1] / "_generated"


def draw_all():
    """Draw what is not there yet; text and ground stay out of the pictures, so that they fit both themes."""
    FOLDER.mkdir(exist_ok=True)
    drawings = {"tissue": _tissue, "cells": _cells, "teach": _teach}
    for name, drawing in drawings.items():
        if not (FOLDER / f"{name}.png").exists():
            drawing()


def _save(figure, name):
    figure.savefig(FOLDER / f"{name}.png", dpi=160, transparent=True)
    plt.close(figure)


def _tissue():
    """The front: one gene as measured, and the domains; the card has the domains alone."""
    path = get_data_home() / "DLPFC_151673.h5ad"
    # nothing is downloaded for a picture
    real = path.exists()
    adata = fetch_dlpfc("151673") if real else make_spatial_domains(3500, n_domains=7, random_state=0)
    model = SpaLLMFusion(strategy="expression", n_clusters=7, random_state=0).fit(adata)
    places = adata.obsm["spatial"]
    gene = "PCP4" if "PCP4" in adata.var_names else adata.var_names[0]
    counts = np.asarray(adata[:, gene].X.toarray()).ravel()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    plot_domains(places, np.zeros(len(places), dtype=int), ax=left, legend=False)
    size = left.collections[0].get_sizes()[0]
    left.collections[0].remove()
    order = np.argsort(counts, kind="stable")
    values = np.log1p(counts[order])
    left.scatter(*places[order].T, c=values, s=size, cmap="magma_r", linewidths=0, vmax=np.quantile(values, 0.995))
    plot_domains(places, model.labels_, ax=right, legend=False)
    _save(figure, "front")
    source = "a slice of human cortex" if real else "a simulated tissue"
    told = (
        f"Left: what was measured of one gene, {gene}, in {source}. Right: the domains that skst finds from all genes."
    )
    (FOLDER / "front.txt").write_text(told + "\n", encoding="utf-8")
    figure, ax = plt.subplots(figsize=(4, 2.6), layout="constrained")
    plot_domains(places, model.labels_, ax=ax, legend=False)
    _save(figure, "tissue")
    report(model, adata, FOLDER / "extra" / "sample_report.html", truth="label")


def _cells():
    cells = make_spatial_domains(900, n_genes=300, n_domains=6, effect=4, depth=1000, random_state=0)
    counts = cells.X.toarray()
    places = TSNE(random_state=0).fit_transform(np.sqrt(counts / counts.sum(axis=1, keepdims=True)))
    figure, ax = plt.subplots(figsize=(4, 2.6), layout="constrained")
    colours = dict(zip(sorted(cells.obs["label"].unique()), PALETTE, strict=False))
    ax.scatter(*places.T, c=cells.obs["label"].map(colours).to_list(), s=9, linewidths=0)
    ax.set_axis_off()
    _save(figure, "cells")


def _teach():
    adata = make_spatial_domains(2500, n_domains=6, pattern="rings", random_state=4)
    figure, ax = plt.subplots(figsize=(4, 2.6), layout="constrained")
    plot_domains(adata, "label", ax=ax, legend=False)
    _save(figure, "teach")


def setup(app):
    """Called by Sphinx."""
    app.connect("builder-inited", lambda app: draw_all())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
