"""The data contract: whatever X is, an estimator reads the same spots."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import BaseEstimator

from skst import GeneTextEncoder
from skst.inputs.counting import check_counts
from skst.inputs.gene_names import clean_names
from skst.inputs.reading import ReadsSpots, missing
from skst.inputs.rows import is_anndata
from skst.inputs.spots import Spots

COUNTS = np.random.default_rng(0).poisson(1.0, (12, 5)).astype(np.float32)
GENES = np.array(["Plp1", "Mbp", "Gad1", "Gad2", "Sst"], dtype=object)
PLACES = np.random.default_rng(1).uniform(size=(12, 2))
SLICES = np.repeat(["b", "a", "c"], 4)


class Reader(ReadsSpots, BaseEstimator):
    """An estimator with every parameter that the contract looks up."""

    def __init__(self, layer=None, spatial_key="spatial", batch_key=None, gene_names=None):
        self.layer = layer
        self.spatial_key = spatial_key
        self.batch_key = batch_key
        self.gene_names = gene_names


def read_spots(reader, X, **options):
    return reader._read_spots(X, **options)


def _adata(X=COUNTS, genes=GENES):
    return anndata.AnnData(
        sparse.csr_matrix(X),
        obs=pd.DataFrame({"slice": SLICES}, index=[f"spot{i}" for i in range(12)]),
        var=pd.DataFrame(index=genes),
        obsm={"spatial": PLACES, "other": PLACES[:, ::-1].copy()},
        layers={"double": 2 * X},
    )


def _view():
    wider = anndata.concat([_adata(), _adata()], axis="obs", index_unique="-")
    wider.obsm["spatial"] = np.vstack([PLACES, PLACES])
    view = wider[:12]
    assert view.is_view
    return view


CONTAINERS = {
    "adata": _adata,
    "adata_dense": lambda: anndata.AnnData(COUNTS, var=pd.DataFrame(index=GENES), obsm={"spatial": PLACES}),
    "adata_csc": lambda: anndata.AnnData(
        sparse.csc_matrix(COUNTS), var=pd.DataFrame(index=GENES), obsm={"spatial": PLACES}
    ),
    "adata_integer": lambda: anndata.AnnData(
        COUNTS.astype(np.int64), var=pd.DataFrame(index=GENES), obsm={"spatial": PLACES}
    ),
    "view": _view,
    "frame": lambda: pd.DataFrame(COUNTS, columns=GENES),
    "array": lambda: COUNTS,
    "integers": lambda: COUNTS.astype(int),
    "fortran": lambda: np.asfortranarray(COUNTS.astype(np.float64)),
    "list": COUNTS.tolist,
    "csr_matrix": lambda: sparse.csr_matrix(COUNTS),
    "csr_array": lambda: sparse.csr_array(COUNTS),
    "csc_matrix": lambda: sparse.csc_matrix(COUNTS),
    "csc_array": lambda: sparse.csc_array(COUNTS),
    "coo_array": lambda: sparse.coo_array(COUNTS),
}
SPARSE = {"adata", "adata_csc", "view", "csr_matrix", "csr_array", "csc_matrix", "csc_array", "coo_array"}


def _dense(X):
    return X.toarray() if sparse.issparse(X) else X


def _same(spots, expected):
    np.testing.assert_array_equal(_dense(spots.X), _dense(expected.X))
    for ours, theirs in zip(spots[1:], expected[1:], strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_gives_the_same_spots(kind):
    X = CONTAINERS[kind]()
    carries_genes, carries_places = kind == "frame" or is_anndata(X), is_anndata(X)
    reader = Reader(gene_names=None if carries_genes else GENES)
    places = {} if carries_places else {"coordinates": PLACES}
    spots = read_spots(reader, X, **places, reset=True)
    _same(spots, Spots(COUNTS, GENES, PLACES, None))
    assert spots.X.dtype == np.float32 and spots.coordinates.dtype == np.float64
    assert isinstance(spots.X, sparse.csr_array) if kind in SPARSE else type(spots.X) is np.ndarray
    assert reader.n_features_in_ == 5
    assert hasattr(reader, "feature_names_in_") == carries_genes
    _same(read_spots(reader, X, **places), spots)


def test_backed_files_are_read(tmp_path):
    _adata().write_h5ad(tmp_path / "spots.h5ad")
    backed = anndata.read_h5ad(tmp_path / "spots.h5ad", backed="r")
    for X, rows in ((backed, slice(None)), (backed[3:9], slice(3, 9))):
        spots = read_spots(Reader(batch_key="slice"), X, reset=True)
        expected = read_spots(Reader(batch_key="slice"), _adata()[rows], reset=True)
        _same(spots, expected)
        doubled = read_spots(Reader(layer="double"), X, reset=True)
        np.testing.assert_array_equal(_dense(doubled.X), 2 * COUNTS[rows])
    assert backed.isbacked
    backed.file.close()


def test_nothing_given_is_changed():
    for make in CONTAINERS.values():
        X, again = make(), make()
        read_spots(Reader(), X, coordinates=PLACES, reset=True)
        ours, theirs = (x.X if is_anndata(x) else x for x in (X, again))
        np.testing.assert_array_equal(_dense(ours), _dense(theirs))


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(5)), st.lists(st.text("XYZ", min_size=1, max_size=3), unique=True, max_size=4))
def test_genes_come_back_in_the_fitted_order(order, others):
    reader = Reader()
    fitted = read_spots(reader, _adata(), reset=True)
    matrix = np.hstack([COUNTS[:, order], np.full((12, len(others)), 7, dtype=np.float32)])
    shuffled = np.random.default_rng(len(others)).permutation(matrix.shape[1])
    names = np.array([*GENES[list(order)], *others], dtype=object)
    wider = _adata(matrix[:, shuffled], names[shuffled])
    _same(read_spots(reader, wider), fitted)
    wider.layers["double"] = 2 * wider.X
    reader.layer = "double"
    np.testing.assert_array_equal(_dense(read_spots(reader, wider).X), 2 * COUNTS)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.sampled_from(range(5)), min_size=1, max_size=5))
def test_missing_genes_are_counted_and_named(absent):
    reader = Reader()
    read_spots(reader, _adata(), reset=True)
    kept = [i for i in range(5) if i not in absent]
    names = np.array([*GENES[kept], *(f"other{i}" for i in absent)], dtype=object)
    with pytest.raises(ValueError, match=f"lacks {len(absent)} of the 5 genes.*'{GENES[min(absent)]}'"):
        read_spots(reader, _adata(COUNTS, names))


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_repeated_genes_cannot_be_reordered():
    twice = np.array(["Plp1", "Plp1", "Gad1", "Gad2", "Sst"], dtype=object)
    reader = Reader()
    with pytest.warns(UserWarning, match="1 gene names are duplicated, such as 'Plp1'"):
        fitted = read_spots(reader, _adata(genes=twice), reset=True)
    _same(read_spots(reader, _adata(genes=twice)), fitted)
    with pytest.raises(ValueError, match="give its columns in the order of fit"):
        read_spots(reader, _adata(genes=twice[::-1]))


def test_fits_and_predictions_on_different_containers():
    for fitted_on in (_adata(), pd.DataFrame(COUNTS, columns=GENES)):
        reader = Reader()
        read_spots(reader, fitted_on, reset=True)
        np.testing.assert_array_equal(_dense(read_spots(reader, _adata()[:, ::-1]).X), COUNTS)
        np.testing.assert_array_equal(read_spots(reader, pd.DataFrame(COUNTS, columns=GENES)).X, COUNTS)
        with pytest.raises(ValueError, match="feature names"):
            read_spots(reader, pd.DataFrame(COUNTS, columns=GENES[::-1]))
        with pytest.raises(ValueError, match="has 4 features, but Reader is expecting 5"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_spots(reader, anndata.AnnData(COUNTS[:, :4]))
        with pytest.warns(UserWarning, match="X has no gene names, unlike that of fit.*with the names of its genes"):
            read_spots(reader, anndata.AnnData(COUNTS))
    reader = Reader()
    read_spots(reader, COUNTS, reset=True)
    np.testing.assert_array_equal(_dense(read_spots(reader, _adata()[:, ::-1]).X), COUNTS[:, ::-1])


def test_a_second_fit_forgets_the_genes_of_the_first():
    reader = Reader()
    read_spots(reader, _adata(), reset=True)
    unnamed = anndata.AnnData(COUNTS[:, :3])
    assert read_spots(reader, unnamed, reset=True).genes is None
    assert not hasattr(reader, "feature_names_in_") and reader.n_features_in_ == 3
    reader = Reader()
    read_spots(reader, _adata(), reset=True)
    assert read_spots(reader, COUNTS[:, :2], reset=True).genes is None
    assert not hasattr(reader, "feature_names_in_")


def test_names_of_columns():
    unnamed = anndata.AnnData(COUNTS)  # AnnData numbers its columns then
    assert read_spots(Reader(), unnamed, reset=True).genes is None
    np.testing.assert_array_equal(read_spots(Reader(gene_names=list(GENES)), unnamed, reset=True).genes, GENES)
    with pytest.raises(ValueError, match=r"gene_names has shape \(4,\) but X has 5 columns"):
        read_spots(Reader(gene_names=GENES[:4]), COUNTS, reset=True)
    frame = pd.DataFrame(COUNTS, columns=pd.MultiIndex.from_product([GENES, ["count"]]))
    with pytest.raises(ValueError, match="MultiIndex columns with 2 levels"):
        read_spots(Reader(), frame, reset=True)
    assert read_spots(Reader(), pd.DataFrame(COUNTS), reset=True).genes is None
    for columns in (["Plp1", 1, 2, 3, 4], ["Plp1", "1", "1", None, np.nan], pd.Index([b"Plp1", *"1234"])):
        reader = Reader()
        assert read_spots(reader, pd.DataFrame(COUNTS, columns=columns), reset=True).genes[0] == "Plp1"
        again = read_spots(reader, pd.DataFrame(COUNTS, columns=columns))
        np.testing.assert_array_equal(again.genes, reader.feature_names_in_)


@given(
    st.lists(
        st.one_of(
            st.sampled_from(["Plp1", "", "nan", "3", None, np.nan, pd.NA, 1, 2.5, b"Mbp", ("Plp1",), pd.Timestamp(0)]),
            st.text(max_size=3),
        ),
        min_size=5,
        max_size=5,
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_any_names_of_columns_are_read_alike_twice(names, as_anndata):
    reader = Reader()
    names = pd.Index(names, dtype=object, tupleize_cols=False)  # of tuples alone a list would be a table
    with warnings.catch_warnings(action="ignore"):
        frame = pd.DataFrame(COUNTS, columns=names)
        if as_anndata:
            frame = anndata.AnnData(COUNTS, var=pd.DataFrame(index=clean_names(names)))
        first = read_spots(reader, frame, reset=True)
        second = read_spots(reader, frame)
    np.testing.assert_array_equal(first.X, COUNTS)
    np.testing.assert_array_equal(second.X, COUNTS)
    assert (first.genes is None) == (second.genes is None)
    if first.genes is not None:
        np.testing.assert_array_equal(first.genes, second.genes)
        np.testing.assert_array_equal(first.genes, clean_names(names))


def test_layers_and_keys():
    spots = read_spots(Reader(layer="double", spatial_key="other"), _adata(), reset=True)
    np.testing.assert_array_equal(_dense(spots.X), 2 * COUNTS)
    np.testing.assert_array_equal(spots.coordinates, PLACES[:, ::-1])
    for parameters in ({"layer": "raw"}, {"spatial_key": "X_umap"}, {"batch_key": "sample"}):
        (name, value) = next(iter(parameters.items()))
        with pytest.raises(ValueError, match=f"^{name}='{value}' is not"):
            read_spots(Reader(**parameters), _adata(), reset=True)
    with pytest.raises(ValueError, match=r"layers of X, which are \['double'\];"):
        read_spots(Reader(layer="raw"), _adata(), reset=True)
    bare = anndata.AnnData(COUNTS)
    assert read_spots(Reader(), bare, reset=True).coordinates is None
    only_layers = anndata.AnnData(None, obs=_adata().obs, var=_adata().var, layers={"counts": COUNTS})
    with pytest.raises(ValueError, match=r"X.X is empty.*\['counts'\]"):
        read_spots(Reader(), only_layers, reset=True)
    np.testing.assert_array_equal(read_spots(Reader(layer="counts"), only_layers, reset=True).X, COUNTS)


def test_arguments_win_over_keys():
    spots = read_spots(Reader(batch_key="slice"), _adata(), coordinates=PLACES + 1, batch=SLICES[::-1], reset=True)
    np.testing.assert_array_equal(spots.coordinates, PLACES + 1)
    np.testing.assert_array_equal(spots.batch, np.repeat([0, 1, 2], 4))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c", "d"]), min_size=12, max_size=12))
def test_slices_become_codes_whatever_their_type(names):
    codes = {name: i for i, name in enumerate(dict.fromkeys(names))}
    expected = [codes[name] for name in names]
    numbers = [ord(name) for name in names]
    for batch in (names, pd.Series(names), pd.Categorical(names, list("abcdxyz")), numbers, np.array(numbers) / 2):
        spots = read_spots(Reader(), COUNTS, batch=batch, reset=True)
        np.testing.assert_array_equal(spots.batch, expected)
    adata = _adata()
    adata.obs["slice"] = pd.Categorical(names)
    np.testing.assert_array_equal(read_spots(Reader(batch_key="slice"), adata, reset=True).batch, expected)


@pytest.mark.parametrize(
    ("given_to", "message"),
    [
        ({"batch": SLICES[:5]}, r"batch has shape \(5,\) but X has 12 rows"),
        ({"batch": [None, *SLICES[1:]]}, "batch is missing for 1 spots"),
        ({"batch": [np.nan, *np.arange(11)]}, "batch is missing for 1 spots"),
        ({"coordinates": PLACES[:5]}, "coordinates have 5 rows but X has 12"),
        ({"coordinates": PLACES[:, :1]}, r"coordinates have shape \(12, 1\)"),
        ({"coordinates": PLACES[:, 0]}, r"coordinates have shape \(12,\)"),
        ({"coordinates": np.hstack([PLACES, PLACES])}, r"coordinates have shape \(12, 4\)"),
        ({"coordinates": sparse.csr_array(PLACES)}, r"sparse matrix; pass coordinates.toarray\(\)"),
        ({"coordinates": np.where(np.arange(24).reshape(12, 2) == 9, np.nan, PLACES)}, "1 spots.*row 4"),
        ({"coordinates": np.where(np.arange(24).reshape(12, 2) > 21, np.inf, PLACES)}, "1 spots.*row 11"),
    ],
)
def test_wrong_places_and_slices(given_to, message):
    with pytest.raises(ValueError, match=message):
        read_spots(Reader(), COUNTS, **given_to, reset=True)


def test_coordinates_of_every_kind():
    solid = np.hstack([PLACES, PLACES[:, :1]])
    for coordinates in (PLACES, PLACES.tolist(), pd.DataFrame(PLACES), solid, (PLACES * 100).astype(int)):
        spots = read_spots(Reader(), COUNTS, coordinates=coordinates, reset=True)
        np.testing.assert_array_equal(spots.coordinates, np.asarray(coordinates, dtype=float))


def test_entries_stored_in_parts_are_added_up():
    whole = sparse.csr_matrix(2 * COUNTS)
    parts = sparse.csr_matrix(
        (np.repeat(whole.data / 2, 2), np.repeat(whole.indices, 2), 2 * whole.indptr), shape=whole.shape
    )
    spots = read_spots(Reader(), parts, reset=True)
    assert spots.X.has_canonical_format and spots.X.nnz == whole.nnz
    np.testing.assert_array_equal(_dense(spots.X), 2 * COUNTS)
    assert parts.nnz == 2 * whole.nnz


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["adata", "frame", "array", "csr_array"])
def test_values_that_are_not_finite(kind, bad):
    X = COUNTS.copy()
    X[3, 2] = X[5, 0] = bad
    X = {"adata": _adata, "frame": pd.DataFrame, "array": np.asarray, "csr_array": sparse.csr_array}[kind](X)
    with pytest.raises(ValueError, match="NaN or infinite values .* in 2 entries, the first in row 3"):
        read_spots(Reader(), X, reset=True)


def _spots(values, make):
    return Spots(make(np.asarray(values, dtype=np.float32)), None, None, None)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_what_can_be_counts(make, recwarn):
    for values in ([[0, 3], [9, 1]], [[0.5, 30.25]], [[0, 0]], np.empty((0, 2))):
        check_counts(_spots(values, make), None)
    assert not recwarn.list
    with pytest.raises(ValueError, match="Negative values in data: X holds -2 .*normalize=False of Reader"):
        check_counts(_spots([[0, 3], [-2, 1]], make), None, unless=Reader())
    with pytest.warns(UserWarning, match="nothing above 7.25, so it looks log-transformed.*normalize=False"):
        check_counts(_spots([[0, 1.5], [7.25, 1]], make), None, unless=Reader())


def test_what_is_missing_is_a_warning_or_an_error():
    with pytest.warns(UserWarning, match="^No places, so none are used; draw some.$"):
        missing("No places", "none are used", "draw some", strict=False)
    with pytest.raises(ValueError, match='^No places; draw some, or set on_missing="warn" to go on without.$'):
        missing("No places", "none are used", "draw some", strict=True)


def test_one_spot_is_enough_and_none_is_not():
    for X in (COUNTS[:1], _adata()[:1]):
        assert read_spots(Reader(), X, reset=True).X.shape == (1, 5)
        with pytest.raises(ValueError, match="minimum of 1 is required"):
            read_spots(Reader(), X[:0], reset=True)


def test_containers_of_other_packages():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(COUNTS, requires_grad=True)
    np.testing.assert_array_equal(read_spots(Reader(), tensor, reset=True).X, COUNTS)
    places = torch.tensor(PLACES, requires_grad=True)
    np.testing.assert_array_equal(read_spots(Reader(), COUNTS, coordinates=places, reset=True).coordinates, PLACES)
    with pytest.raises(TypeError, match=r"X is a AnnCollection.*X\[:\].to_adata\(\)"):
        read_spots(Reader(), anndata.experimental.AnnCollection([_adata()]), reset=True)
    for wrong in (COUNTS.astype("M8[s]"), COUNTS.astype("m8[s]")):
        with pytest.raises(ValueError, match="which are times and no counts"):
            read_spots(Reader(), wrong, reset=True)
        with pytest.raises(ValueError, match="coordinates hold something else than numbers"):
            read_spots(Reader(), COUNTS, coordinates=wrong[:, :2], reset=True)
    with pytest.raises(ValueError, match="batch is of type AnnData"):
        read_spots(Reader(), COUNTS, batch=_adata(), reset=True)


@pytest.mark.filterwarnings("ignore:1 gene names are duplicated")
def test_names_as_long_as_books_are_not_shown_whole(bare_home):
    book = "X" * 1_000_000
    genes = [book, book, *GENES[2:]]
    with pytest.warns(UserWarning, match="duplicated") as caught:
        read_spots(Reader(gene_names=genes), COUNTS, reset=True)
    with pytest.warns(UserWarning, match="Only 3 of 5") as more:
        GeneTextEncoder(model="lexical", gene_names=genes).fit(COUNTS * [99, 99, 1, 1, 1])
    with pytest.raises(ValueError, match="X lacks") as error:
        reader = Reader()
        read_spots(reader, pd.DataFrame(COUNTS, columns=[book, *GENES[1:]]), reset=True)
        read_spots(reader, _adata())
    messages = [str(warning.message) for warning in (*caught, *more)]
    assert max(map(len, [*messages, str(error.value)])) < 600
