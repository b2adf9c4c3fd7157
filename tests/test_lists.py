"""A list of slices, given to estimators that need all spots at once, or train networks on them."""

from functools import cache

import anndata
import numpy as np
import pytest
from llmdsc_fits import FEW
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from skst import (
    GeneTextEncoder,
    LLMDSCClusterer,
    SemSTClusterer,
    SpaLLMFusion,
    SpatialGraphTransformer,
    STLLMClusterer,
    limits,
)
from skst.datasets import make_spatial_domains
from skst.embedding.encoders import STAGATE
from skst.inputs import reading
from skst.inputs.sources import FileCounts
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


@pytest.fixture
def many(monkeypatch):
    """Small tissue is so many spots that networks see mini-batches, and files are read one at a time."""
    monkeypatch.setattr(limits, "MAX_FULL_BATCH", 150)
    monkeypatch.setattr(limits, "TILE_SIZE", 40)
    monkeypatch.setattr(limits, "CELLS_A_BATCH", 100)


@pytest.fixture
def paths(slices, tmp_path):
    for number, adata in enumerate(slices):
        adata.write_h5ad(tmp_path / f"{number}.h5ad")
    return [tmp_path / f"{number}.h5ad" for number in range(2)]


def _refuse(*arguments, **keywords):
    raise AssertionError("slices are put together")


TEXTS = {
    "semst": (None, {"mode": "prompt", "max_texts": 1000}, {"mode": "sentence", "k_g": 5, "max_texts": 1000}),
    "llmdsc": (None, *({"mode": mode, "max_texts": 1000} for mode in ("aggregate", "dual", "prompt"))),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in TEXTS for text in TEXTS[name]])
def test_files_of_many_spots_are_read_one_at_a_time(name, text, joined, paths, many, monkeypatch):
    without = {"semst": {"fusion": None}, "llmdsc": {"align_to": None}}[name]
    parameters = without if text is None else {"text": _text(**text)}
    model = MAKE[name]().set_params(clusterer="kmeans", **parameters)
    sees_slices = {"batch_key": "slice"} if name == "semst" else {}
    whole = clone(model).set_params(**sees_slices).fit(joined)
    monkeypatch.setattr(reading, "in_one", _refuse)
    read, by_rows = FileCounts.read, []
    monkeypatch.setattr(FileCounts, "read", lambda self, rows=None: by_rows.append(rows) or read(self, rows))
    fitted = clone(model).fit(paths)
    assert by_rows
    assert adjusted_rand_score(fitted.labels_, whole.labels_) > 0.99
    # Axes of expression come out up to their signs, those of text to rounding of float32.
    assert_allclose(abs(fitted.embedding_), abs(whole.embedding_), atol=0.02 * abs(whole.embedding_).max())
    assert_array_equal(np.concatenate(fitted.predict(paths)), fitted.labels_)
    assert_array_equal(np.concatenate(fitted.transform(paths)), fitted.embedding_)
    assert_array_equal(clone(model).fit(paths).embedding_, fitted.embedding_)
    if name == "llmdsc":
        assert_array_equal(fitted.structural_embedding_, whole.structural_embedding_)


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_cells_of_a_fit_from_files_are_written_as_those_of_the_fit(form, slices, paths, many):
    written = [adata.copy() for adata in slices]
    if form == "dense":
        for adata, path in zip(written, paths, strict=True):
            adata.X = adata.X.toarray() + np.float32(0.1)
            adata.write_h5ad(path)
    model = MAKE["llmdsc"]().set_params(clusterer="kmeans", align_to=None, normalize=form == "sparse").fit(paths)
    model.write(written)
    assert [adata.uns["cluster"]["predicted"] for adata in written] == [False, False]


@pytest.mark.parametrize("form", ["paths", "list", "backed"])
def test_slices_of_the_fit_are_known_again(form, slices, joined, paths, tmp_path, monkeypatch):
    model, X = SpaLLMFusion(n_clusters=3, text=_text(), **QUICK), {"paths": paths, "list": slices}.get(form)
    if form == "backed":
        joined.write_h5ad(tmp_path / "all.h5ad")
        model, X = model.set_params(batch_key="slice"), anndata.read_h5ad(tmp_path / "all.h5ad", backed="r")
    model.fit(X)
    items = [joined.copy()] if form == "backed" else [adata.copy() for adata in slices][::-1]
    labels = [model.labels_] if form == "backed" else _parts(model.labels_, slices)[::-1]
    with monkeypatch.context() as patch:
        patch.setattr(SpaLLMFusion, "_embed", _refuse)
        model.write(items)
    for adata, own in zip(items, labels, strict=True):
        assert_array_equal(adata.obs["domain"].astype(int), own)
        assert not adata.uns["domain"]["predicted"]
    items[0].X = items[0].X[:, ::-1]  # as many counts in each spot, of other genes
    model.write(items[0])
    assert items[0].uns["domain"]["predicted"]


def test_slices_are_told_apart_by_more_than_their_sums(slices):
    (adata,), rng = [slices[0].copy()], np.random.default_rng(0)
    genes = [np.repeat(np.arange(adata.n_vars), row)[:60] for row in adata.X.toarray().astype(int)]
    counts = np.array([np.bincount(rng.permutation(found), minlength=adata.n_vars) for found in genes])
    adata = adata[counts.sum(axis=1) == 60].copy()  # all spots of one depth, as after thinning
    adata.X = np.float32(0.1) * counts[counts.sum(axis=1) == 60].astype(np.float32)
    model = SpaLLMFusion(n_clusters=3, strategy="expression", **QUICK)
    model.set_params(spatial__normalize=False).fit([adata])
    shuffled, sparser = adata.copy(), adata.copy()
    shuffled.X, sparser.X = shuffled.X[rng.permutation(len(adata))], sparse.csr_matrix(adata.X)
    for other, predicted in ((shuffled, True), (sparser, False)):
        model.write(other)
        assert other.uns["domain"]["predicted"] == predicted


@pytest.mark.filterwarnings("ignore:.*lacks 100 of the 200 genes")
def test_one_tissue_without_some_genes_is_predicted_as_a_list_of_it(slices):
    model = SpaLLMFusion(n_clusters=3, strategy="expression", **QUICK).fit(slices)
    part = slices[0][:, : slices[0].n_vars // 2].copy()
    assert_array_equal(model.predict(part), model.predict([part])[0])
    model.write(part)
    assert_array_equal(part.obs["domain"].astype(int), model.predict(part))


def test_networks_read_a_backed_file_by_slices(joined, many, tmp_path, monkeypatch):
    shuffled = joined[np.random.default_rng(0).permutation(len(joined))].copy()
    shuffled.write_h5ad(tmp_path / "all.h5ad")
    model = MAKE["semst"](batch_key="slice").set_params(clusterer="kmeans", text__max_texts=1000)
    whole = clone(model).fit(shuffled)
    backed = anndata.read_h5ad(tmp_path / "all.h5ad", backed="r")
    monkeypatch.setattr("skst.semst.WholeTissue", _refuse)
    fitted = clone(model).fit(backed)
    assert adjusted_rand_score(fitted.labels_, whole.labels_) > 0.99
    fitted.write(shuffled)
    assert not shuffled.uns["domain"]["predicted"]
    assert_array_equal(fitted.predict(backed), fitted.labels_)
    assert_allclose(fitted.denoised_, whole.denoised_, rtol=0.05)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("semst", {"text__max_texts": None}),
        ("semst", {"graph": "learned", "text__max_texts": 1000}),
        ("llmdsc", {"text__max_texts": None}),
        ("llmdsc", {"inputs": "counts", "text__max_texts": 1000}),
    ],
)
def test_what_networks_cannot_read_by_slices_is_put_together(name, parameters, slices, paths, many):
    model = MAKE[name]().set_params(clusterer="kmeans", **parameters)
    assert_array_equal(clone(model).fit(paths).embedding_, clone(model).fit(slices).embedding_)


def _negative(path):
    adata = anndata.read_h5ad(path)
    adata.X.data[0] = -1
    adata.write_h5ad(path)


def _cut(path):
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_negative, "Negative values in data: X holds -1 where raw counts are expected"),
        (_cut, "(broken|do not follow each other)"),
    ],
)
def test_a_fault_of_one_of_many_files_is_told_of_that_file(name, spoil, message, paths, many):
    spoil(paths[1])
    model = MAKE[name]().set_params(text__max_texts=1000)
    with pytest.raises(ValueError, match=rf"Slice 1 of X, '.*1.h5ad', cannot be used: .*{message}") as told:
        model.fit(paths)
    assert "normalize=" not in str(told.value) or "normalize" in model.get_params()


@pytest.mark.parametrize("name", TEXTS)
def test_networks_need_all_genes_of_a_file(name, slices, paths, many):
    fitted = MAKE[name]().set_params(clusterer="kmeans", text__max_texts=1000).fit(paths)
    slices[1][:, :-7].copy().write_h5ad(paths[1])
    with pytest.raises(ValueError, match=r"Slice 1 of X, '.*1.h5ad', cannot be used: .* 7 of the 200 "):
        fitted.predict(paths)
