"""What cases are made of: a small tissue, quick settings of all estimators, and what a message has to look like."""

import re
import warnings
from functools import cache

import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score

from skst import (
    GeneTextEncoder,
    LLMDSCClusterer,
    SemSTClusterer,
    SpaLLMFusion,
    SpatialGraphTransformer,
    STLLMClusterer,
)
from skst.datasets import make_spatial_domains

N_SPOTS, N_GENES = 200, 60


def quick_text(**parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical"} | parameters))


def quick_transformer(**parameters):
    return SpatialGraphTransformer().set_params(**({"random_state": 0} | parameters))


def quick_fusion(**parameters):
    quick = {"text": quick_text(), "n_clusters": 4, "clusterer": "kmeans", "random_state": 0}
    return SpaLLMFusion().set_params(**(quick | parameters))


def quick_semst(**parameters):
    quick = {"text": quick_text(mode="prompt", k_g=5), "n_clusters": 4, "network__max_epochs": 2}
    quick |= {"network__n_networks": 1}
    return SemSTClusterer().set_params(**(quick | {"clusterer": "kmeans", "random_state": 0} | parameters))


def quick_stllm(**parameters):
    quick = {"text": quick_text(), "n_clusters": 4, "narration__n_regions": 6, "graph": "knn", "clusterer": "kmeans"}
    return STLLMClusterer().set_params(**(quick | {"random_state": 0} | parameters))


def quick_llmdsc(**parameters):
    quick = {"text": quick_text(mode="dual", k_g=5), "n_clusters": 4, "network__n_networks": 1, "n_top_genes": (40, 80)}
    return LLMDSCClusterer().set_params(
        **(quick | {"network__max_epochs": 2, "clusterer": "kmeans", "random_state": 0} | parameters)
    )


MAKERS = {
    "text": quick_text,
    "transformer": quick_transformer,
    "fusion": quick_fusion,
    "semst": quick_semst,
    "stllm": quick_stllm,
    "llmdsc": quick_llmdsc,
}


def is_one_sentence(message):
    """Fail unless a message is a single sentence on a single line, whatever it quotes."""
    assert re.fullmatch(r"[^\n]+[^\n.]\.", message), message
    message = re.sub(r"'[^']*'", "''", message)
    assert not re.search(r"[.!?]\s", message), message


def recorded():
    """Records all warnings of a block."""
    return warnings.catch_warnings(record=True, action="always")


def of_skst(caught):
    """Messages of recorded warnings, but for those of k-means on equal spots and of anndata about the data at hand."""
    foreign = (ConvergenceWarning, DeprecationWarning, FutureWarning)
    texts = [str(warning.message) for warning in caught if not issubclass(warning.category, foreign)]
    of_anndata = "names are not unique|Transforming to str index|index to contain strings"
    return [text for text in texts if not re.search(of_anndata, text)]


def quietly(action):
    """What an action returns, whatever it warns of: the way to a case that is about something else."""
    with warnings.catch_warnings(action="ignore"):
        return action()


class Kit:
    """Fresh data and the estimator of a case.

    Parameters
    ----------
    name : str
        Of the estimator, a key of MAKERS.
    tmp_path, monkeypatch
        The fixtures.
    """

    def __init__(self, name, tmp_path, monkeypatch):
        self.name = name
        self.tmp_path = tmp_path
        self.monkeypatch = monkeypatch

    def others(self, name):
        """The same kit with another estimator."""
        return Kit(name, self.tmp_path, self.monkeypatch)

    def make(self, **parameters):
        """The estimator with quick settings, even quicker ones where it has networks or texts to read."""
        return _make(self.name, parameters)

    def fit(self, X, *, coordinates=None, batch=None, **parameters):
        """The estimator, fitted; coordinates and batch go to ``fit`` and all else to the constructor."""
        given = {"coordinates": coordinates, "batch": batch}
        return self.make(**parameters).fit(X, **{name: value for name, value in given.items() if value is not None})

    def fitted(self, **parameters):
        """The estimator as fitted to the tissue; the same one each time."""
        return _fitted(self.name, tuple(parameters.items()))

    def tissue(self):
        """Spots named "spot0", ... with counts, places, known labels, and a slice that is their half of the tissue."""
        return _tissue().copy()

    def without_places(self):
        """The tissue, whose places a case passes beside it."""
        adata = self.tissue()
        del adata.obsm["spatial"]
        return adata

    def places(self):
        """Places as a table with the names of the spots."""
        adata = self.tissue()
        return pd.DataFrame(adata.obsm["spatial"], index=adata.obs_names, columns=["x", "y"])

    def change(self, row, column, value):
        """The tissue as a dense AnnData with other counts in some places."""
        adata = self.tissue()
        adata.X = adata.X.toarray()
        adata.X[row, column] = value
        return adata


def _make(name, parameters):
    quicker = {"narration__n_regions": 4, "narration__levels": ("region",)} if name == "stllm" else {}
    return MAKERS[name](**(quicker | parameters))


@cache
def _tissue():
    adata = make_spatial_domains(N_SPOTS, n_genes=N_GENES, n_domains=4, depth=600, effect=3, random_state=0)
    adata.obs_names = [f"spot{i}" for i in range(N_SPOTS)]
    left = adata.obsm["spatial"][:, 0] < np.median(adata.obsm["spatial"][:, 0])
    adata.obs["batch"] = np.where(left, "left", "right")
    return adata


@cache
def _fitted(name, parameters):
    return _make(name, dict(parameters)).fit(_tissue())


def shuffled(table):
    """Rows of a table in another order."""
    return table.sample(frac=1, random_state=0)


def as_fitted(kit, fitted):
    """Check that a fit found what it finds in the tissue as it should be given."""
    agree(fitted, kit.fitted())


def as_slices(kit, fitted):
    """Check that a fit found what it finds in the tissue with its slices named."""
    agree(fitted, kit.fitted(batch_key="batch"))


def agree(fitted, expected):
    """Check that two fits found the same."""
    if hasattr(expected, "labels_"):
        assert adjusted_rand_score(fitted.labels_, expected.labels_) == 1
    elif hasattr(expected, "embedding_"):
        np.testing.assert_allclose(fitted.embedding_, expected.embedding_, atol=1e-5)
    else:
        np.testing.assert_allclose(fitted.gene_mean_, expected.gene_mean_, rtol=1e-5)
        assert fitted.has_text_ == expected.has_text_


def finite(kit, fitted):
    """Check that a fit found something."""
    values = [getattr(fitted, name) for name in ("labels_", "embedding_", "gene_mean_") if hasattr(fitted, name)]
    assert values and all(np.isfinite(value).all() for value in values)


def same(kit, pair):
    """Check that two results are equal."""
    first, second = pair
    if isinstance(first, pd.DataFrame):
        pd.testing.assert_frame_equal(first, second)
    else:
        assert np.array_equal(first, second), (first, second)
