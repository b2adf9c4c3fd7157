"""
Regions of a mouse cortex, with and without text
================================================

What `make demo` runs.  A slice of mouse somatosensory cortex was measured by osmFISH: 33 genes, thousands of
cells, and for each cell the place where it lies.  The study also divided the slice into regions.  We hide
those regions, let skst find domains from the counts alone and from the counts together with what a language
model knows of the 33 genes, and only then compare both with the study.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import pandas as pd

import skst
from skst.datasets import fetch_osmfish, make_spatial_domains
from skst.metrics import score_partition
from skst.plotting import plot_domain_comparison


def load_tissue():
    """The osmFISH slice, or a simulated one where it can be neither found nor downloaded."""
    try:
        return fetch_osmfish()
    except OSError as error:
        print(f"  osmFISH is out of reach ({error})")
        print("  A SIMULATED tissue takes its place: the scores below say nothing about real data.")
        return make_spatial_domains(n_samples=3000, random_state=0)


def cluster(adata, strategy, n_clusters):
    """Domains by one strategy of SpaLLMFusion; returns the fitted model and the seconds it took."""
    start = time.perf_counter()
    # Raw counts go in: the estimator normalises them itself.  It never sees adata.obs["label"].
    model = skst.SpaLLMFusion(strategy=strategy, n_clusters=n_clusters, random_state=0, verbose=1)
    model.fit(adata)
    return model, time.perf_counter() - start


def peak_memory():
    """Most memory this process has held so far, in MiB."""
    # counted in bytes on macOS, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main():
    """Cluster, compare, draw and save."""
    parser = argparse.ArgumentParser(description="Find the regions of a mouse cortex with and without text.")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for the results")
    output = parser.parse_args().output

    print("1. Reading the tissue")
    adata = load_tissue()
    # The number of domains is the one thing we take from the annotation.
    n_clusters = adata.obs["label"].nunique()
    print(f"   {adata.n_obs} cells, {adata.n_vars} genes, {n_clusters} annotated domains")

    print("2. Expression alone")
    expression, seconds_expression = cluster(adata, "expression", n_clusters)
    print(f"   {seconds_expression:.1f} s")

    print("3. Expression and text: every gene's description goes through a language model")
    fused, seconds_fused = cluster(adata, "weighted", n_clusters)
    print(f"   {seconds_fused:.1f} s, most of which is saved the next time, since vectors are kept on disk")

    print("4. Comparing with the annotated domains (1 is perfect; ARI 0 is chance)")
    scores = pd.DataFrame(
        {
            "text + expression": score_partition(adata.obs["label"], fused.labels_) | {"seconds": seconds_fused},
            "expression alone": score_partition(adata.obs["label"], expression.labels_)
            | {"seconds": seconds_expression},
        }
    ).T
    print(scores[["ari", "nmi", "acc", "seconds"]].round(3).to_string())
    print("   a difference means little before permuted text and noise were tried: see docs/guide/controls.rst")
    print(f"   peak memory {peak_memory():.0f} MiB")

    print("5. Saving")
    output.mkdir(parents=True, exist_ok=True)
    picture, table, page = (output / f"osmfish_domains.{kind}" for kind in ("png", "h5ad", "html"))
    predictions = {"text + expression": fused.labels_, "expression alone": expression.labels_}
    figure = plot_domain_comparison(adata, truth="label", predictions=predictions)
    # Simulated tissue says so wherever the picture goes.
    figure.suptitle(adata.uns["source"], y=1.08)
    figure.savefig(picture, dpi=150, bbox_inches="tight")

    seconds = {"fit, with text": seconds_fused, "fit, expression alone": seconds_expression}
    skst.report(fused, adata, page, truth="label", seconds=seconds)

    fused.write(adata)
    expression.write(adata, key_added="domain_expression_alone")
    adata.write_h5ad(table)
    print(f"   picture: {picture.resolve()}")
    print(f"   report:  {page.resolve()}  (open it in a browser)")
    print(f"   table:   {table.resolve()}  (obs['domain'], obsm['X_domain']; open it with anndata.read_h5ad)")


if __name__ == "__main__":
    main()
