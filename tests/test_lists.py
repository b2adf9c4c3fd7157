"""A list of slices, given to estimators that need all spots at once."""

from functools import cache

import anndata
import numpy as np
import pytest
from llmdsc_fits import FEW
from numpy.testing import assert_allclose, assert_array_equal

from skst import (
    GeneTextEncoder,
    LLMDSCClusterer,
    SemSTClusterer,
    SpaLLMFusion,
    SpatialGraphTransformer,
    STLLMClusterer,
)
from skst.datasets import make_spatial_domains
from skst.embedding.encoders import STAGATE
from skst.settings import CellNetwork, GraphNetwork


def _text(**options):
    return GeneTextEncoder(model="lexical", **options)


QUICK = {"clusterer": FEW, "random_state": 0}
MAKE = {
    "semst": lambda **more: SemSTClusterer(
        3, text=_text(mode="prompt"), network=GraphNetwork(max_epochs=2), **QUICK, **more
    ),
    "stllm": lambda **more: STLLMClusterer(3, text=_text(), **QUICK, **more),
    "prompts": lambda **more: SpaLLMFusion(n_clusters=3, text=_text(mode="prompt"), **QUICK, **more),
    "llmdsc": lambda **more: LLMDSCClusterer(3, text=_text(mode="dual"), network=CellNetwork(max_epochs=2), **QUICK),
}
SEES_SLICES = [name for name in MAKE if name != "llmdsc"]


@pytest.fixture(scope="module")
def slices():
    made = [make_spatial_domains(size, n_domains=3, random_state=0) for size in (260, 200)]
    for number, adata in enumerate(made):
        adata.obs_names = [f"{name}-{number}" for name in adata.obs_names]
        adata.layers["counts"] = adata.X.copy()
    return made


@pytest.fixture(scope="module")
def joined(slices):
    return anndata.concat(slices, label="slice")


@pytest.fixture(scope="module")
def fitted_once(slices):
    """Fits an estimator to the slices, once for all tests, which leave it as it is."""
    return cache(lambda name: MAKE[name]().fit(slices))


def _parts(values, slices):
    return np.split(values, np.cumsum([len(one) for one in slices])[:-1])


@pytest.mark.parametrize("name", MAKE)
def test_a_list_is_the_tissue_that_it_is_of(name, slices, joined, fitted_once):
    fitted, whole = fitted_once(name), MAKE[name](batch_key="slice").fit(joined)
    assert_array_equal(fitted.labels_, whole.labels_)
    assert_array_equal(fitted.embedding_, whole.embedding_)
    for found, expected in (
        (fitted.predict(slices), fitted.labels_),
        (fitted.transform(slices), fitted.embedding_),
    ):
        for one, part in zip(found, _parts(expected, slices), strict=True):
            assert_allclose(one, part, atol=1e-5)


@pytest.mark.parametrize("name", MAKE)
def test_a_list_is_written_slice_by_slice(name, slices, fitted_once):
    fitted, written = fitted_once(name), [adata.copy() for adata in slices]
    fitted.write(written, key_added="found")
    for adata, labels, embedding in zip(
        written, _parts(fitted.labels_, slices), _parts(fitted.embedding_, slices), strict=True
    ):
        assert_array_equal(adata.obs["found"].astype(int), labels)
        assert_array_equal(adata.obsm["X_found"], embedding)
        assert not adata.uns["found"]["predicted"]


def test_files_are_put_together(slices, fitted_once, tmp_path):
    paths = [tmp_path / f"{number}.h5ad" for number in range(2)]
    for path, adata in zip(paths, slices, strict=True):
        adata[:, ::-1].copy().write_h5ad(path) if path is paths[1] else adata.write_h5ad(path)
    assert_array_equal(MAKE["semst"]().fit(paths).labels_, fitted_once("semst").labels_)


def test_cells_need_no_places(slices, fitted_once):
    cells = [adata.copy() for adata in slices]
    for adata in cells:
        del adata.obsm["spatial"]
    assert_array_equal(MAKE["llmdsc"]().fit(cells).labels_, fitted_once("llmdsc").labels_)
    with pytest.raises(ValueError, match=r"Slice 0 of X cannot be used: there is no obsm\['spatial'\]"):
        MAKE["semst"]().fit(cells)


def test_no_neighbours_across_slices(slices):
    """What lies at the same places in two slices does not average."""
    transformer = SpatialGraphTransformer(STAGATE(max_epochs=2), random_state=0).fit(slices)
    for together, adata in zip(transformer.transform(slices), slices, strict=True):
        assert_allclose(together, transformer.transform(adata), atol=1e-4)


def test_slices_of_other_genes_are_fitted_by_those_in_common(slices, fitted_once):
    fewer = [slices[0], slices[1][:, :-7].copy()]
    with pytest.warns(UserWarning, match="genes in common"):
        fitted = MAKE["semst"]().fit(fewer)
    assert fitted.n_features_in_ == slices[0].n_vars - 7
    assert list(fitted.feature_names_in_) == list(fewer[1].var_names)
    with pytest.warns(UserWarning, match="lacks 20 of the"):
        found = fitted_once("stllm").predict([slices[0][:, 20:].copy(), slices[1]])
    assert [len(labels) for labels in found] == [len(adata) for adata in slices]


def test_a_layer_is_read_from_each(slices, fitted_once):
    emptied = [anndata.AnnData(None, adata.obs, adata.var, obsm=adata.obsm, layers=adata.layers) for adata in slices]
    assert_array_equal(MAKE["semst"](layer="counts").fit(emptied).labels_, fitted_once("semst").labels_)


def test_a_reading_of_text_gives_lists(slices, joined):
    encoder = _text(mode="prompt")
    expected = encoder.fit(joined).transform(joined)
    for one, part in zip(encoder.fit(slices).transform(slices), _parts(expected, slices), strict=True):
        assert_allclose(one, part, atol=1e-5)


@pytest.mark.parametrize("parameters", [{"spatial__use_rep": "X_scVI"}, {"text__layer": "counts"}])
def test_what_is_not_counts_is_asked_of_no_list(parameters, slices):
    with pytest.raises(TypeError, match=r"X is a list of 2 AnnData, of which counts .* put them together, X = anndata"):
        SpaLLMFusion(n_clusters=3).set_params(**parameters).fit(slices)
