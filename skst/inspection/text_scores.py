"""How like what is written about the genes of clusters is to what is said of cell types."""

import numpy as np
import pandas as pd
from sklearn.base import clone

from skst.genes.described import as_descriptions
from skst.genes.identity import detect_species
from skst.inspection.cell_types import load_cell_types
from skst.text import GeneTextEncoder
from skst.text.models import TextModel, as_text_model
from skst.text.text_vectors import TextVectors


def text_scores(found, cell_types, n_top, model, descriptions=None, control=None, random_state=None):
    """Cosine of each cluster (row) with each type, zeros where no gene has a text, and the genes that were read.

    `found` has the markers of each cluster, the most specific first, with a "weight".
    """
    # Some genes have no text, so a few more than n_top are looked up.
    found = [table[: 2 * n_top] for table in found.values()]
    read = pd.Index(pd.concat([table["gene"] for table in found]).astype(str)).unique()
    genes = read.append(pd.Index(load_cell_types()["markers"].str.split("|").explode())).unique()
    model = as_text_model(model)
    written = clone(as_descriptions(descriptions))
    # Resolved once for genes and types; it reads as it was told.
    settings = TextModel(model.backend(), batch_size=model.batch_size, cache=model.cache)
    if written.species == "auto":
        written.set_params(species=detect_species(read))
    encoder = GeneTextEncoder(
        model=settings,
        descriptions=written,
        control=control,
        gene_names=genes,
        n_top_genes=None,
        random_state=random_state,
    ).fit(np.isin(genes, read)[None].astype(np.float32))  # so that its coverage is that of the data's genes
    described = (encoder.gene_report_["text"] != "").to_numpy()
    if not described.any():
        return np.zeros((len(found), len(cell_types))), [table[:0] for table in found]
    vectors = encoder.gene_vectors_ - encoder.gene_vectors_[described].mean(axis=0)
    lines = [
        f"{name}: {said}" if said else name
        for name, said in zip(cell_types["cell_type"], cell_types["description"].fillna(""), strict=True)
    ]
    types = TextVectors(settings)(lines)
    scores, tables = [], []
    for table in found:
        places = genes.get_indexer(table["gene"].astype(str))
        table, places = table[described[places]][:n_top], places[described[places]][:n_top]
        cluster = table["weight"].to_numpy() @ vectors[places]
        scores.append(types @ cluster / np.maximum(np.linalg.norm(types, axis=1) * np.linalg.norm(cluster), 1e-12))
        tables.append(table)
    return np.array(scores), tables
