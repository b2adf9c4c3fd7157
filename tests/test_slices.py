"""Slices that are read one at a time: lists, files and lazy AnnData give what one AnnData in memory gives."""

import os
import subprocess
import sys
import time
import weakref

import anndata
import h5py
import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from skst import GeneTextEncoder, SpaLLMFusion, SpatialGraphTransformer, limits
from skst.datasets import make_spatial_domains
from skst.embedding import sliced
from skst.embedding.sliced import Passes
from skst.expression.moments import averaged_moments
from skst.graph import SpatialNeighbors
from skst.inputs.slices import open_slices
from skst.inputs.sources import FileCounts, read_rows
from skst.inputs.spots import Where
from skst.text.gene_sums import GeneSums

N_SLICES, N_SPOTS = 4, 800
# anndata says so to whoever writes zarr
pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2 data")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tissue of four slices: a file a slice, and all of them in one, rows shuffled so that slices are interleaved."""
    folder = tmp_path_factory.mktemp("slices")
    make_spatial_domains(N_SPOTS, n_genes=80, n_slices=N_SLICES, depth=150, random_state=0, to=folder)
    whole = anndata.concat([anndata.read_h5ad(path) for path in _paths(folder)])
    whole = whole[np.random.default_rng(0).permutation(N_SPOTS)].copy()
    whole.write_h5ad(folder / "whole.h5ad")
    whole.write_zarr(folder / "whole.zarr")
    return folder


def _paths(folder):
    return [folder / f"slice{number}.h5ad" for number in range(1, N_SLICES + 1)]


def _parts(folder):
    return [anndata.read_h5ad(path) for path in _paths(folder)]


def _backed(folder):
    return anndata.read_h5ad(folder / "whole.h5ad", backed="r")


def _dask(folder):
    import dask.array

    whole = anndata.read_h5ad(folder / "whole.h5ad")
    whole.X = dask.array.from_array(whole.X.toarray(), chunks=(90, -1))
    return whole


def _read_lazy(folder):
    pytest.importorskip("xarray", reason="read_lazy needs xarray")
    if not hasattr(anndata.experimental, "read_lazy"):
        pytest.skip("this anndata reads nothing lazily")
    return anndata.experimental.read_lazy(folder / "whole.zarr")


def _open_dataset(folder):
    whole = anndata.read_h5ad(folder / "whole.h5ad")
    dataset = anndata.io.sparse_dataset(h5py.File(folder / "whole.h5ad")["X"])
    return anndata.AnnData(dataset, whole.obs, whole.var, obsm=dict(whole.obsm))


def _listed(folder):
    return anndata.concat(_parts(folder)), lambda values: np.concatenate(values)


def _interleaved(folder):
    return anndata.read_h5ad(folder / "whole.h5ad"), lambda values: values


FORMS = {
    "paths": (lambda folder: [str(path) for path in _paths(folder)], _listed),
    "list": (_parts, _listed),
    "views": (lambda folder: [part[np.arange(200)] for part in _parts(folder)], _listed),
    "backed": (_backed, _interleaved),
    "dask": (_dask, _interleaved),
    "dataset": (_open_dataset, _interleaved),
    "lazy": (_read_lazy, _interleaved),
}


def _fusion(**parameters):
    return SpaLLMFusion(n_clusters=5, text=GeneTextEncoder(model="lexical"), random_state=0).set_params(**parameters)


def _alike(found, expected, atol=1e-4):
    """Embeddings equal up to the signs of columns."""
    signs = np.sign((found * expected).sum(axis=0))
    np.testing.assert_allclose(found * signs, expected, atol=atol * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_slices_give_what_the_whole_gives(form, folder):
    make, whole = FORMS[form]
    X, (together, joined) = make(folder), whole(folder)
    sliced = {} if isinstance(X, list) else {"batch_key": "batch"}
    clusterer = "mixture" if form in ("paths", "backed") else "kmeans"
    fitted = _fusion(strategy="expression", clusterer=clusterer, **sliced).fit(X)
    expected = _fusion(strategy="expression", clusterer=clusterer, batch_key="batch").fit(together)
    assert fitted.spatial_.n_pool_ == expected.spatial_.n_pool_ > 0 and fitted.spatial_.n_passes_ == 3
    _alike(fitted.embedding_, expected.embedding_)
    assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.99
    np.testing.assert_array_equal(joined(fitted.predict(X)), fitted.labels_)
    np.testing.assert_array_equal(joined(fitted.transform(X)), fitted.embedding_)
    np.testing.assert_array_equal(expected.predict(together), joined(expected.predict(X)))


@pytest.mark.parametrize("strategy", ["weighted", "concat", "functional"])
@pytest.mark.parametrize("weighting", ["contrast", "abundance"])
def test_text_of_slices_is_that_of_the_whole(strategy, weighting, folder):
    model = _fusion(strategy=strategy, text__weighting=weighting, clusterer="kmeans")
    expected = clone(model).set_params(batch_key="batch").fit(anndata.concat(_parts(folder)))
    model.fit(_paths(folder))
    np.testing.assert_allclose(model.text_.gene_vectors_, expected.text_.gene_vectors_)
    np.testing.assert_allclose(model.text_.gene_mean_, expected.text_.gene_mean_, rtol=1e-5)
    assert model.text_.coverage_ == pytest.approx(expected.text_.coverage_)
    assert adjusted_rand_score(model.labels_, expected.labels_) > 0.99
    # scikit-learn's PCA finds the trailing axes of text at random, and to three digits.
    _alike(model.embedding_, expected.embedding_, atol=2e-2)
    np.testing.assert_array_equal(np.concatenate(model.predict(_paths(folder))), model.labels_)


def test_text_of_deep_spots_needs_no_covariance_of_its_own(tmp_path):
    paths = make_spatial_domains(600, n_genes=70, n_slices=2, depth=900, random_state=0, to=tmp_path)
    expected = _fusion(batch_key="batch").fit(anndata.concat([anndata.read_h5ad(path) for path in paths]))
    fitted = _fusion().fit(paths)
    assert fitted.spatial_.n_pool_ == 0
    assert adjusted_rand_score(fitted.labels_, expected.labels_) > 0.99
    _alike(fitted.embedding_, expected.embedding_, atol=2e-3)


def test_text_by_weights_of_genes_is_that_by_sums(folder, monkeypatch):
    found = []
    for few in (True, False):
        monkeypatch.setattr(GeneSums, "few", few)
        found.append(_fusion(strategy="functional", clusterer="kmeans").fit(_paths(folder)).embedding_)
    _alike(*found, atol=1e-3)


@pytest.mark.parametrize("method", ["smooth", "views"])
@pytest.mark.parametrize(
    ("settings", "n_passes"),
    [({"n_top_genes": 30}, 4), ({"n_top_genes": 30, "n_hops": 1}, 3), ({"normalize": False}, 3), ({"n_hops": 0}, 3)],
)
def test_settings_mean_what_they_mean_for_the_whole(method, settings, n_passes, folder):
    expected = SpatialGraphTransformer(method, batch_key="batch", n_components=6, **settings)
    expected = expected.fit(anndata.concat(_parts(folder)))
    fitted = SpatialGraphTransformer(method, n_components=6, **settings).fit(_paths(folder))
    assert fitted.n_passes_ == n_passes
    np.testing.assert_array_equal(fitted.components_ != 0, expected.components_ != 0)
    _alike(fitted.embedding_, expected.embedding_)


@pytest.mark.parametrize("reading", ["at once", "by tiles", "put aside"])
def test_large_slices_are_averaged_in_tiles(reading, folder, monkeypatch):
    whole = SpatialGraphTransformer("views", n_top_genes=40).fit(_paths(folder))
    monkeypatch.setattr(limits, "TILE_ENTRIES", 80 * 45)
    sizes = []
    read = FileCounts.read
    monkeypatch.setattr(FileCounts, "read", lambda self, rows=None: (sizes.append(rows), read(self, rows))[1])
    if reading != "at once":
        monkeypatch.setattr(limits, "SLICE_ENTRIES", 1)
        monkeypatch.setattr(sliced, "MAX_SPREAD", 0 if reading == "put aside" else N_SPOTS)
    tiled = SpatialGraphTransformer("views", n_top_genes=40).fit(_paths(folder))
    assert all((rows is None) == (reading == "at once") for rows in sizes)
    if reading != "at once":  # rows around a tile are read with it, or each row once a pass
        n_read = sum(map(len, sizes)) / tiled.n_passes_
        assert n_read == N_SPOTS if reading == "put aside" else n_read > N_SPOTS
    _alike(tiled.embedding_, whole.embedding_)


def test_moments_of_tiles_are_not_held(folder, monkeypatch):
    monkeypatch.setattr(limits, "TILE_ENTRIES", 10 * 45)
    made, held = [], []

    def spy(*arguments):
        found = averaged_moments(*arguments)
        made.append(weakref.ref(found.scatter))
        held.append(sum(one() is not None for one in made))
        return found

    monkeypatch.setattr(sliced, "averaged_moments", spy)
    SpatialGraphTransformer("views", n_top_genes=40).fit(_paths(folder))
    assert len(held) > 8 and max(held) < 4


def test_a_backed_file_is_read_by_slices(tmp_path, monkeypatch):
    (path,) = make_spatial_domains(400, n_genes=50, random_state=0, to=tmp_path)
    adata = anndata.read_h5ad(path)
    adata.obs["part"] = np.repeat(["a", "b", "c", "d"], 100)
    adata.write_h5ad(path)
    read = []
    getitem = h5py.Dataset.__getitem__

    def spy(self, *arguments, **keywords):
        found = getitem(self, *arguments, **keywords)
        if self.name == "/X/data":
            read.append(np.size(found))
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    fitted = SpatialGraphTransformer(batch_key="part").fit(anndata.read_h5ad(path, backed="r"))
    assert max(read) < 0.3 * adata.X.nnz
    assert sum(read) == fitted.n_passes_ * adata.X.nnz


_MEASURE = """
import resource, sys
import anndata, scipy.linalg, sklearn.neighbors
from skst import SpatialGraphTransformer
SpatialGraphTransformer("views").fit(sys.argv[1:2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
SpatialGraphTransformer("views").fit(sys.argv[1:])
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="units of the resident size are those of Linux")
def test_memory_does_not_grow_with_the_number_of_slices(tmp_path):
    paths = make_spatial_domains(8_000, n_genes=500, n_slices=10, depth=4000, random_state=0, to=tmp_path)
    done = subprocess.run([sys.executable, "-c", _MEASURE, *paths], capture_output=True, text=True, check=True)
    assert int(done.stdout) < sum(path.stat().st_size for path in paths) / 4


@pytest.mark.parametrize("form", ["paths", "backed"])
@pytest.mark.parametrize("most", [1, 200, 500])
def test_slices_are_predicted_some_at_a_time(form, most, folder, monkeypatch):
    X = FORMS[form][0](folder)
    fitted = _fusion(batch_key="batch" if form == "backed" else None).fit(X)
    expected, held, embed = fitted.predict(X), [], type(fitted)._embed_slices
    monkeypatch.setattr(limits, "MAX_PREDICTED", most)
    monkeypatch.setattr(
        type(fitted), "_embed_slices", lambda self, part: held.append(part.n_spots) or embed(self, part)
    )
    for one, other in zip(fitted.predict(X), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sum(held) == N_SPOTS and max(held) < most + N_SPOTS / N_SLICES


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_are_those_of_joblib(backend, folder):
    expected = SpatialGraphTransformer().fit(_paths(folder)).embedding_
    with joblib.parallel_config(backend, n_jobs=2):
        found = SpatialGraphTransformer().fit(_paths(folder)).embedding_
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_memory_keeps_what_was_found_in_each_slice(folder, tmp_path, monkeypatch):
    model = _fusion(memory=tmp_path, clusterer="kmeans")
    reads, read = [], FileCounts.read

    def interrupted(self, rows=None):
        reads.append(self.path)
        if len(reads) == N_SLICES + 3:  # the third slice of the second pass
            raise KeyboardInterrupt
        return read(self, rows)

    monkeypatch.setattr(FileCounts, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(_paths(folder))
    fitted = clone(model).fit(_paths(folder))
    assert len(reads) == 3 * N_SLICES + 1  # once each in three passes, and the one that was cut short again
    assert fitted.from_cache_ == {"spatial": False, "text": False}
    again = clone(model).set_params(beta=0.1).fit(_paths(folder))
    assert len(reads) == 3 * N_SLICES + 1 and again.from_cache_ == {"spatial": True, "text": True}
    monkeypatch.undo()
    _alike(fitted.embedding_, _fusion(clusterer="kmeans").fit(_paths(folder)).embedding_)


def test_memory_sees_that_a_file_was_written_anew(tmp_path, monkeypatch):
    paths = make_spatial_domains(300, n_genes=40, n_slices=2, random_state=0, to=tmp_path / "data")
    model = _fusion(memory=tmp_path / "memory", strategy="expression", clusterer="kmeans")
    first = clone(model).fit(paths)
    make_spatial_domains(300, n_genes=40, n_slices=2, random_state=1, to=tmp_path / "data")
    second = clone(model).fit(paths)
    assert not second.from_cache_["spatial"] and not np.array_equal(first.embedding_, second.embedding_)


def test_a_file_that_changes_between_passes_is_an_error(tmp_path, monkeypatch):
    paths = make_spatial_domains(300, n_genes=40, n_slices=2, random_state=0, to=tmp_path)
    find_axes = Passes.find_axes

    def touched(self, *arguments):
        now = time.time_ns()
        os.utime(paths[1], ns=(now, now + 10**9))
        return find_axes(self, *arguments)

    monkeypatch.setattr(Passes, "find_axes", touched)
    with pytest.raises(ValueError, match=r"Slice 1 of X, '.*slice2.h5ad', cannot be used: the file has changed"):
        SpatialGraphTransformer().fit(paths)


def test_a_bar_counts_slices(folder, capsys):
    _fusion(verbose=1, strategy="expression", clusterer="kmeans").fit(_paths(folder))
    told = capsys.readouterr()
    for name in ("depth", "covariances", "scores"):
        assert f"{name}: 100%" in told.err
    assert "800 spots x 80 genes in 4 slices" in told.out


def test_genes_in_another_order_are_put_in_order(folder):
    parts = _parts(folder)
    expected = SpatialGraphTransformer().fit(parts)
    parts[2] = parts[2][:, ::-1].copy()
    np.testing.assert_array_equal(SpatialGraphTransformer().fit(parts).embedding_, expected.embedding_)
    np.testing.assert_array_equal(np.concatenate(expected.transform(parts)), expected.embedding_)


def test_what_an_estimator_does_not_read_lazily_it_reads_whole(folder):
    for parameters in ({"coordinates": _backed(folder).obsm["spatial"]}, {"batch": _backed(folder).obs["batch"]}):
        fitted = SpatialGraphTransformer(batch_key="batch").fit(_backed(folder), **parameters)
        assert not hasattr(fitted, "n_passes_")
    assert not hasattr(SpatialGraphTransformer().fit(_backed(folder)), "n_passes_")


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_rows_are_read_in_any_order(make, tmp_path, monkeypatch):
    monkeypatch.setattr("skst.inputs.sources._STEP", 7)
    X = np.random.default_rng(0).poisson(1.0, (60, 5)).astype(np.float32)
    anndata.AnnData(make(X)).write_h5ad(tmp_path / "x.h5ad")
    backed = anndata.read_h5ad(tmp_path / "x.h5ad", backed="r").X
    for rows in (None, np.arange(3, 40), np.array([50, 2, 3, 30]), np.array([], dtype=int)):
        read = read_rows(backed, rows)
        read = read.toarray() if sparse.issparse(read) else read
        np.testing.assert_array_equal(read, X if rows is None else X[rows])


def test_layers_of_files_are_read(folder, tmp_path):
    paths = []
    for number, part in enumerate(_parts(folder)):
        part.layers["counts"], part.X = part.X, part.X * 0
        paths.append(tmp_path / f"{number}.zarr")
        part.write_zarr(paths[-1])
    found = SpatialGraphTransformer(layer="counts").fit(paths).embedding_
    np.testing.assert_array_equal(found, SpatialGraphTransformer().fit(_paths(folder)).embedding_)


def test_slices_tell_where_rows_are(folder):
    slices = open_slices(_backed(folder), Where(spatial_key="spatial", batch_key="batch"))
    whole = anndata.read_h5ad(folder / "whole.h5ad")
    np.testing.assert_array_equal(slices.places, whole.obsm["spatial"])
    for one, rows in zip(slices.slices, slices.rows, strict=True):
        np.testing.assert_array_equal(one.read().toarray(), whole.X[rows].toarray())
        assert whole.obs["batch"].iloc[rows].nunique() == 1
    assert sorted(np.concatenate(slices.rows)) == list(range(N_SPOTS))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"graph__radius": 1.0, "graph__kind": "radius"}, "radius=1.0 joins 800 of 800 spots to no other"),
        ({"graph__n_neighbors": 150}, "n_neighbors=150 joins 800 of 800 spots to half of their slice or more"),
    ],
)
def test_a_graph_that_tells_nothing_is_warned_of_once(parameters, message, folder):
    model = SpatialGraphTransformer().set_params(**parameters)
    with pytest.warns(UserWarning, match=message) as caught:
        model.fit(_paths(folder))
    assert len(caught) == 1


def test_places_and_counts_that_tell_nothing_are_warned_of(folder):
    parts = _parts(folder)
    for part in parts:
        part.obsm["spatial"] = np.zeros((200, 2))
    with pytest.warns(UserWarning, match="800 of 800 spots lie at 4 places"):
        SpatialGraphTransformer().fit(parts)
    parts = _parts(folder)
    for part in parts:
        part.X = np.ones((200, 80), dtype=np.float32)
    with pytest.warns(UserWarning, match="X is the same in all of its 800 spots"):
        SpatialGraphTransformer().fit(parts)
    parts = _parts(folder)
    for part in parts:
        part.X = np.log1p(part.X.toarray())
    with pytest.warns(UserWarning, match="so it looks log-transformed; pass raw counts, or set normalize=False"):
        SpatialGraphTransformer().fit(parts)


@pytest.mark.parametrize("batch_key", [None, "batch"])
@pytest.mark.parametrize("strategy", ["weighted", "functional"])
def test_large_tissue_in_memory_is_worked_on_in_parts(strategy, batch_key, folder, monkeypatch):
    whole = anndata.read_h5ad(folder / "whole.h5ad")
    whole.obsm["spatial"] = whole.obsm["spatial"] + 1000.0 * whole.obs["batch"].cat.codes.to_numpy()[:, None]
    model = _fusion(strategy=strategy, batch_key=batch_key, clusterer="kmeans")
    expected = clone(model).fit(whole)
    monkeypatch.setattr(limits, "MAX_WHOLE", N_SPOTS - 1)
    monkeypatch.setattr(limits, "HELD_ENTRIES", 80 * 100)
    monkeypatch.setattr(limits, "HELD_SPOTS", 1)
    built, build = [], SpatialNeighbors.build
    monkeypatch.setattr(SpatialNeighbors, "build", lambda *given, **more: built.append(1) or build(*given, **more))
    fitted = clone(model).fit(whole)
    assert len(built) == (1 if batch_key is None else N_SLICES)  # and not anew in each pass
    _alike(fitted.embedding_, expected.embedding_, atol=1e-3)  # of text, the last axes are of nearly equal variance
    np.testing.assert_array_equal(fitted.labels_, expected.labels_)
    np.testing.assert_array_equal(fitted.predict(whole), fitted.labels_)
    np.testing.assert_array_equal(expected.predict(whole), expected.labels_)
    fitted.write(whole)
    assert not whole.uns["domain"]["predicted"]  # it is known again as what was fitted
