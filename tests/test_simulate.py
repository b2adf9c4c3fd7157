import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors

from skst.datasets import _simulate, make_spatial_domains, mask_counts

PATTERNS = ["layers", "rings", "patches"]


def expected(adata):
    """Mean of every entry by the documented model."""
    profiles = adata.uns["truth"]["profiles"]
    domain = adata.obs["label"].cat.categories.get_indexer(adata.obs["label"])
    kind = adata.obs["cell_type"].cat.codes.to_numpy() if "cell_type" in adata.obs else 0
    return adata.obs["library_size"].to_numpy()[:, None] * profiles[domain, kind]


@pytest.mark.parametrize("zero_inflation, dispersion", [(0.0, 0.0), (0.3, 0.0), (0.0, 0.8), (0.3, 0.8)])
def test_counts_have_the_moments_of_a_zinb(zero_inflation, dispersion):
    adata = make_spatial_domains(
        20_000,
        n_genes=20,
        n_domains=2,
        depth=60,
        zero_inflation=zero_inflation,
        dispersion=dispersion,
        random_state=3,
    )
    X, mean = adata.X.toarray().astype(float), expected(adata)
    m = mean / (1 - zero_inflation)
    spread = (1 - zero_inflation) * (m + dispersion * m**2) + zero_inflation * (1 - zero_inflation) * m**2
    none = np.exp(-m) if dispersion == 0 else (1 + dispersion * m) ** (-1 / dispersion)
    none = zero_inflation + (1 - zero_inflation) * none
    # Over 4e5 entries the standardised mean and the share of zeros are within 5 standard errors.
    assert abs(((X - mean) / np.sqrt(spread)).mean()) < 5 / np.sqrt(X.size)
    assert abs(((X == 0) - none).mean()) < 5 * 0.5 / np.sqrt(X.size)
    assert ((X - mean) ** 2 / spread).mean() == pytest.approx(1, abs=0.05)


def test_depth_is_the_median_of_expected_counts():
    adata = make_spatial_domains(4000, depth=250, random_state=0)
    assert np.median(adata.obs["library_size"]) == pytest.approx(250, rel=0.05)
    assert np.median(adata.X.sum(axis=1).A1) == pytest.approx(250, rel=0.08)
    assert np.allclose(adata.uns["truth"]["profiles"].sum(axis=2), 1)


def test_markers_stand_out_by_the_effect():
    truth = make_spatial_domains(50, effect=3.0, random_state=0)
    plain = make_spatial_domains(50, effect=1.0, random_state=0).uns["truth"]["profiles"][:, 0]
    ratio = truth.uns["truth"]["profiles"][:, 0] / plain
    for d in range(5):
        marks = (truth.var["programme"] == f"domain{d + 1}").to_numpy()
        assert marks.sum() == 200 // 15
        assert np.allclose(ratio[d, marks] / ratio[d, ~marks][0], 3)
        assert np.allclose(ratio[d, ~marks], ratio[d, ~marks][0])
    assert np.allclose(plain, plain[0])


def test_programmes_are_of_related_real_genes():
    adata = make_spatial_domains(50, n_genes=450, random_state=0)
    first = set(adata.var_names[adata.var["programme"] == "domain1"])
    assert {"MBP", "MOG", "PLP1"} <= first and "CD3E" not in first
    assert adata.var_names.is_unique and adata.n_vars == 450
    invented = adata.var_names.str.fullmatch(r"GENE\d{5}")
    assert 50 < invented.sum() < 100
    assert not make_spatial_domains(50, n_genes=200, random_state=0).var_names.str.startswith("GENE0").any()


@pytest.mark.parametrize("n_domains, n_cell_types", [(1, None), (40, None), (3, 30), (1, 1)])
def test_more_programmes_than_themes(n_domains, n_cell_types):
    adata = make_spatial_domains(80, n_genes=60, n_domains=n_domains, n_cell_types=n_cell_types, random_state=0)
    assert adata.var["programme"].replace("", pd.NA).nunique() == n_domains + (n_cell_types or 0)
    assert adata.var_names.is_unique and adata.shape == (80, 60)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("n_samples, n_slices", [(403, 1), (403, 4), (20, 4), (5, 1)])
def test_every_domain_is_in_every_slice(pattern, n_samples, n_slices):
    adata = make_spatial_domains(n_samples, n_genes=10, n_slices=n_slices, pattern=pattern, random_state=1)
    table = pd.crosstab(adata.obs["batch"], adata.obs["label"]).to_numpy()
    assert table.shape == (n_slices, 5) and table.sum() == n_samples and table.min() >= 1
    assert np.ptp(table.sum(axis=1)) <= 1
    if pattern != "patches":
        assert np.ptp(table, axis=1).max() <= 1  # equal shares


@pytest.mark.parametrize("pattern", PATTERNS)
def test_domains_are_compact_and_spots_keep_apart(pattern):
    adata = make_spatial_domains(2000, n_genes=10, pattern=pattern, random_state=2)
    distance, near = NearestNeighbors(n_neighbors=6).fit(adata.obsm["spatial"]).kneighbors()
    label = adata.obs["label"].to_numpy(dtype=object)
    assert (label[near] == label[:, None]).mean() > 0.8
    assert distance[:, 0].min() > 40 and np.median(distance[:, 0]) == pytest.approx(80, abs=15)
    # Rows come in random order, so that plain cross-validation meets all domains.
    assert len(set(label[:100])) == 5


def test_slices_differ_in_depth_by_their_factor():
    adata = make_spatial_domains(3000, n_slices=3, random_state=5)
    size = adata.obs.groupby("batch", observed=True)["library_size"].median().to_numpy()
    assert np.allclose(size / 300, adata.uns["truth"]["slice_factors"], rtol=0.08)
    assert np.ptp(np.log(size)) > 0.1


def test_cell_types_mix_differently_in_domains():
    adata = make_spatial_domains(3000, n_cell_types=4, random_state=0)
    share = pd.crosstab(adata.obs["label"], adata.obs["cell_type"], normalize="index").to_numpy()
    assert share.shape == (5, 4) and np.ptp(share, axis=0).max() > 0.2
    X, mean = adata.X.toarray(), expected(adata)
    for kind in adata.obs["cell_type"].cat.categories:
        cells, marks = (
            (adata.obs["cell_type"] == kind).to_numpy(),
            (adata.var["programme"] == kind).to_numpy(),
        )
        if cells.sum() > 50:
            block = np.ix_(cells, marks)
            assert X[block].mean() == pytest.approx(mean[block].mean(), rel=0.1)


def test_the_seed_decides_everything_and_the_chunk_nothing(monkeypatch):
    first = make_spatial_domains(300, n_slices=2, n_cell_types=3, random_state=7)
    monkeypatch.setattr(_simulate, "_CHUNK", 1000)
    second = make_spatial_domains(300, n_slices=2, n_cell_types=3, random_state=7)
    other = make_spatial_domains(300, n_slices=2, n_cell_types=3, random_state=8)
    assert (first.X != second.X).nnz == 0 and first.obs.equals(second.obs)
    assert np.array_equal(first.obsm["spatial"], second.obsm["spatial"])
    assert (first.X != other.X).nnz > 1000 and not np.array_equal(first.obsm["spatial"], other.obsm["spatial"])
    state = np.random.RandomState(7)
    assert (make_spatial_domains(300, n_slices=2, n_cell_types=3, random_state=state).X != first.X).nnz == 0


def test_result_is_sparse_counts_and_can_be_written(tmp_path):
    adata = make_spatial_domains(200, random_state=0)
    assert isinstance(adata.X, sparse.csr_matrix) and adata.X.dtype == np.float32
    assert adata.X.nnz == np.count_nonzero(adata.X.toarray())
    assert np.array_equal(adata.X.data, np.floor(adata.X.data))
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert (again.X != adata.X).nnz == 0
    assert np.array_equal(again.uns["truth"]["profiles"], adata.uns["truth"]["profiles"])


def test_neighbours_recover_domains_where_expression_alone_does_not():
    for seed in range(3):
        adata = make_spatial_domains(random_state=seed)
        X = adata.X.toarray()
        X = np.sqrt(X / X.sum(axis=1, keepdims=True))
        places = adata.obsm["spatial"]
        near = NearestNeighbors(n_neighbors=7).fit(places).kneighbors(places, return_distance=False)
        smooth = X[near].mean(axis=1)[near].mean(axis=1)
        alone, together = (
            adjusted_rand_score(adata.obs["label"], KMeans(5, n_init=5, random_state=0).fit_predict(Z))
            for Z in (X, smooth)
        )
        assert together > 0.75 and together > alone + 0.2


@pytest.mark.parametrize(
    "parameters, match",
    [
        ({"n_samples": 9, "n_slices": 2}, "n_samples"),
        ({"n_genes": 4}, "n_genes"),
        ({"n_genes": 7, "n_cell_types": 3}, "n_genes"),
        ({"n_domains": 0}, "n_domains"),
        ({"pattern": "stripes"}, "pattern='stripes' is not known; choose one of layers"),
        ({"depth": 0}, "depth"),
        ({"zero_inflation": 1.0}, "zero_inflation"),
        ({"dispersion": -1}, "dispersion"),
        ({"effect": 0.5}, "effect"),
        ({"n_cell_types": 0}, "n_cell_types"),
    ],
)
def test_parameters_out_of_range_are_named(parameters, match):
    with pytest.raises(ValueError, match=match):
        make_spatial_domains(**parameters)


counts = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 7]))
formats = st.sampled_from([None, sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.coo_array])


@settings(max_examples=150, deadline=None)
@given(X=counts, fraction=st.floats(0, 1), kind=formats, seed=st.integers(0, 1000))
def test_masking_removes_exactly_the_share_and_changes_nothing_else(X, fraction, kind, seed):
    given = X.copy() if kind is None else kind(X)
    masked = mask_counts(given, fraction, random_state=seed)
    dense = masked if kind is None else masked.toarray()
    n_nonzero = np.count_nonzero(X)
    assert np.count_nonzero(dense) == n_nonzero - round(fraction * n_nonzero)
    assert np.array_equal(dense[dense != 0], X[dense != 0]) and dense.dtype == X.dtype
    assert np.array_equal(given if kind is None else given.toarray(), X)
    assert np.array_equal(dense, _dense(mask_counts(given, fraction, random_state=seed)))
    if kind is not None:
        assert masked.nnz == np.count_nonzero(dense)
        assert isinstance(masked, sparse.sparray) == isinstance(given, sparse.sparray)
        assert masked.format == ("csc" if given.format == "csc" else "csr")


def _dense(X):
    return X.toarray() if sparse.issparse(X) else X


def test_masking_counts_stored_zeros_and_duplicates_right():
    stored = sparse.csr_array((np.array([1.0, 0, 2, 3, 4]), [0, 1, 2, 0, 0], [0, 3, 5]), shape=(2, 3))
    masked = mask_counts(stored, 0.5, random_state=0)  # the entries are 1, 2 and 3 + 4
    assert masked.nnz == 1 and stored.nnz == 5
    assert set(masked.data) <= {1, 2, 7}


def test_masking_is_even_over_entries():
    kept = sum(mask_counts(np.ones((5, 4)), 0.75, random_state=seed) for seed in range(400))
    # Each entry stays with probability 1/4: 100 of 400, standard deviation 8.7.
    assert kept.sum() == 2000 and kept.min() > 60 and kept.max() < 140


def test_masking_an_anndata_gives_a_copy():
    adata = make_spatial_domains(100, random_state=0)
    adata.layers["all"] = adata.X.copy()
    masked = mask_counts(adata, 0.875, random_state=0)
    assert masked.X.nnz == adata.X.nnz - round(0.875 * adata.X.nnz)
    assert masked.layers["all"].nnz == adata.layers["all"].nnz == adata.X.nnz
    assert masked.obs.equals(adata.obs) and "spatial" in masked.obsm
    view = mask_counts(adata[:50], 0.5, random_state=0)
    assert view.shape == (50, 200) and adata.X.nnz == adata.layers["all"].nnz


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_masking_more_than_all_is_an_error(fraction):
    with pytest.raises(ValueError, match="fraction"):
        mask_counts(np.ones((2, 2)), fraction)


@pytest.mark.parametrize("file_format", ["h5ad", "zarr"])
def test_slices_in_files_hold_the_rows_of_the_whole(file_format, tmp_path):
    settings = {"n_samples": 100, "n_genes": 30, "n_slices": 3, "n_cell_types": 2, "random_state": 0}
    whole = make_spatial_domains(**settings)
    for _ in range(2):  # the second writes over the first
        paths = make_spatial_domains(**settings, to=tmp_path / "new", file_format=file_format)
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    parts = [getattr(anndata, f"read_{file_format}")(path) for path in paths]
    assert [len(part) for part in parts] == [34, 33, 33]
    joined = anndata.concat(parts)
    np.testing.assert_array_equal(joined.X.toarray(), whole.X.toarray())
    np.testing.assert_array_equal(joined.obsm["spatial"], whole.obsm["spatial"])
    pd.testing.assert_frame_equal(joined.obs, whole.obs, check_categorical=False)
    pd.testing.assert_frame_equal(parts[1].var.astype(str), whole.var.astype(str))
    np.testing.assert_allclose(parts[2].uns["truth"]["profiles"], whole.uns["truth"]["profiles"])


def test_a_slice_that_is_not_whole_is_not_left(tmp_path, monkeypatch):
    def write(self, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(anndata.AnnData, "write_h5ad", write)
    with pytest.raises(KeyboardInterrupt):
        make_spatial_domains(20, n_genes=10, to=tmp_path, random_state=0)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="file_format='loom' is not known; choose one of h5ad, zarr"):
        make_spatial_domains(20, n_genes=10, to=tmp_path, file_format="loom")
