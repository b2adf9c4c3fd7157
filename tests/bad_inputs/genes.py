"""Names of genes."""

import numpy as np
import pandas as pd
from sklearn.utils._param_validation import InvalidParameterError

from skst.genes import match_genes

from .cases import ALL, error, warning, works
from .kit import as_fitted, quick_text, same

TITLE = "Names of genes"
NO_NAMES = r"X has no gene names, so .* goes on without text.*gene_names="
NONE_KNOWN = r"None of the 60 gene names of X, such as 'peak0', .*fetch_gene_descriptions\('human'\).*gene_names="
NAMERS = ("text", "fusion", "llmdsc")


def _symbols(kit):
    return kit.tissue().var_names.to_numpy(dtype=object)


def named(kit, names):
    """The tissue with other names of genes."""
    adata = kit.tissue()
    adata.var_names = list(names)
    return adata


def _peaks(kit):
    return named(kit, [f"peak{i}" for i in range(60)])


def _some_peaks(kit):
    return named(kit, [*_symbols(kit)[:5], *(f"peak{i}" for i in range(55))])


def _frame(kit, columns):
    return kit.tissue().to_df().set_axis(columns, axis=1)


def _repeated(kit):
    return named(kit, [*_symbols(kit)[:1], *_symbols(kit)[:-1]])


def _all_known(kit, encoder):
    assert encoder.coverage_ == 1, encoder.gene_report_[encoder.gene_report_["symbol"] == ""]


def _matched(*names):
    """What names are matched to, in a table of two genes."""
    table = pd.DataFrame({"symbol": ["MARCHF1", "EGR1"], "aliases": ["", "225|NaN"]})
    return match_genes(list(names), table, species="human")["symbol"].tolist()


CASES = [
    warning(
        "X is an array without ``gene_names=``",
        NO_NAMES,
        "goes on without text.",
        "Pass ``gene_names=``, an AnnData, or a DataFrame.",
        lambda kit: kit.make().fit(kit.tissue().X),
        lambda kit: kit.make(gene_names=_symbols(kit)).fit(kit.tissue().X),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    warning(
        'An AnnData has the names "0", "1", ..., and was filtered since',
        NO_NAMES,
        "takes them for the row numbers they are, and goes on without text.",
        "Pass ``gene_names=``.",
        lambda kit: kit.make().fit(named(kit, map(str, range(60)))[:, ::2].copy()),
        lambda kit: kit.make(gene_names=_symbols(kit)[::2]).fit(named(kit, map(str, range(60)))[:, ::2].copy()),
        of=(*NAMERS, "stllm"),
    ),
    warning(
        "Genes are called by Entrez ids, which are bare numbers",
        NO_NAMES,
        "does not guess whose numbers they are.",
        "Pass symbols as ``gene_names=``.",
        lambda kit: kit.make().fit(named(kit, range(7_000_000, 7_000_060))),
        lambda kit: kit.make(gene_names=_symbols(kit)).fit(named(kit, range(7_000_000, 7_000_060))),
        as_fitted,
        of=NAMERS,
    ),
    error(
        'Genes have no names, and ``on_missing="error"``',
        'X has no gene names; .*set on_missing="warn"',
        "says what to pass.",
        'Pass names; or ``on_missing="warn"``.',
        lambda kit: kit.make(on_missing="error").fit(kit.tissue().X),
        lambda kit: kit.make(on_missing="error", gene_names=_symbols(kit)).fit(kit.tissue().X),
        as_fitted,
        of=("text",),
    ),
    warning(
        "No gene is in the table of genes (peaks, probes, another organism)",
        NONE_KNOWN,
        "shows some names and goes on without text.",
        "Pass symbols as ``gene_names=``, or call :func:`~skst.genes.fetch_gene_descriptions`.",
        lambda kit: kit.make().fit(_peaks(kit)),
        lambda kit: kit.make(gene_names=_symbols(kit)).fit(_peaks(kit)),
        as_fitted,
        of=NAMERS,
    ),
    error(
        'No gene is known, and ``on_missing="error"``',
        NONE_KNOWN[:-1] + '.*on_missing="warn"',
        "shows some names.",
        'Pass symbols as ``gene_names=``; or ``on_missing="warn"``.',
        lambda kit: kit.make(text=quick_text(on_missing="error")).fit(_peaks(kit)),
        lambda kit: kit.make(text=quick_text(on_missing="error"), gene_names=_symbols(kit)).fit(_peaks(kit)),
        as_fitted,
    ),
    warning(
        "Few genes are in the table",
        r"Only 5 of 60 genes, with \d+% of the counts in X, are in the human marker table.*such as 'peak0'",
        "says how many, and of how many counts.",
        "Pass symbols as ``gene_names=``, or call :func:`~skst.genes.fetch_gene_descriptions`.",
        lambda kit: kit.make().fit(_some_peaks(kit)),
        lambda kit: kit.make(gene_names=_symbols(kit)).fit(named(kit, [f"peak{i}" for i in range(60)])),
        as_fitted,
        of=NAMERS,
    ),
    works(
        "``gene_names=`` for an AnnData or DataFrame whose own names are of another kind",
        "the names that are passed win.",
        "Nothing.",
        lambda kit: kit.make(gene_names=_symbols(kit)).fit(_peaks(kit).to_df()),
        _all_known,
        of=("text",),
    ),
    error(
        "``gene_names=`` has another length than X has columns",
        r"gene_names has shape \(59,\) but X has 60 columns; give one name a column",
        "shows both.",
        "Give one name a column.",
        lambda kit: kit.make(gene_names=_symbols(kit)[1:]).fit(kit.tissue()),
        lambda kit: kit.make(gene_names=_symbols(kit)).fit(kit.tissue()),
        as_fitted,
        of=ALL,
    ),
    error(
        "``gene_names=`` has the names of X in another order",
        "gene_names holds 60 names that X has too, but 60 of them for other columns.*or leave gene_names out",
        "shows a name that is at another column.",
        "Give names in the order of the columns, or none.",
        lambda kit: kit.make(gene_names=_symbols(kit)[::-1]).fit(kit.tissue()),
        lambda kit: kit.make().fit(kit.tissue()),
        as_fitted,
        of=ALL,
    ),
    error(
        "``gene_names=`` is a column of ``var`` of other genes",
        "gene_names names no row for 60 of the 60 rows of X.columns, such as",
        "shows a name of either side.",
        "Pass the column of these genes, or ``gene_names.to_numpy()``.",
        lambda kit: kit.make(gene_names=_peaks(kit).var_names.to_series()).fit(kit.tissue()),
        lambda kit: kit.make(gene_names=kit.tissue().var_names.to_series()).fit(kit.tissue()),
        as_fitted,
        of=NAMERS,
    ),
    error(
        "``gene_names=`` is the name of a column, a dict or a set",
        "gene_names is of type dict; give a list of one name a column",
        "asks for a list.",
        '``gene_names=adata.var["symbol"]``.',
        lambda kit: kit.make(gene_names={"symbol": 1}).fit(kit.tissue()),
        lambda kit: kit.make(gene_names=list(_symbols(kit))).fit(kit.tissue()),
        as_fitted,
        of=NAMERS,
    ),
    works(
        "``gene_names=`` is a table of one column",
        "the column is read.",
        "Nothing.",
        lambda kit: kit.make(gene_names=pd.DataFrame({"symbol": _symbols(kit)})).fit(kit.tissue().X),
        _all_known,
        of=("text",),
    ),
    warning(
        "Names of genes are repeated",
        "1 gene names are duplicated, such as 'ANLN'; .*sum or rename them",
        "keeps each column as a gene of its own.",
        "Sum the columns, or ``adata.var_names_make_unique()``.",
        lambda kit: kit.make().fit(_repeated(kit)),
        lambda kit: kit.make().fit(_unique(_repeated(kit))),
        of=ALL,
    ),
    warning(
        "Columns of a DataFrame are repeated",
        "1 gene names are duplicated, such as 'ANLN'",
        "keeps each column as a gene of its own.",
        "Sum them: ``X.T.groupby(level=0).sum().T``.",
        lambda kit: kit.make().fit(_repeated(kit).to_df()),
        lambda kit: kit.make().fit(_repeated(kit).to_df().T.groupby(level=0).sum().T),
        of=("text", "llmdsc"),
    ),
    works(
        'Some names are missing (NaN, ``None``, "nan")',
        'these genes have no text; no alias "NaN" is looked up.',
        "Nothing.",
        lambda kit: (
            kit.make().fit(_frame(kit, [np.nan, None, "nan", *_symbols(kit)[3:]])).gene_report_["symbol"][:3].tolist(),
            ["", "", ""],
        ),
        same,
        of=("text",),
    ),
    works(
        "A bare number or a NaN is an alias of some gene",
        "it is not matched by it.",
        "Nothing.",
        lambda kit: (_matched("225", np.nan, "EGR1"), ["", "", "EGR1"]),
        same,
    ),
    works(
        "Columns of a DataFrame are text and numbers",
        "all are read as text, and bare numbers are no names.",
        "Nothing.",
        lambda kit: kit.make().fit(_frame(kit, [*_symbols(kit)[:40], *range(20)])).gene_report_["gene"][40],
        lambda kit, name: same(kit, (name, "0")),
        of=("text",),
    ),
    works(
        "Names are bytes, as some files give them",
        "they are decoded.",
        "Nothing.",
        lambda kit: kit.make().fit(_frame(kit, [name.encode() for name in _symbols(kit)])),
        _all_known,
        of=("text",),
    ),
    error(
        "A DataFrame has columns of several levels",
        "X has MultiIndex columns with 2 levels; keep the one that names the genes",
        "does not guess which level names genes.",
        "``X.columns = X.columns.get_level_values(0)``.",
        lambda kit: kit.make().fit(_frame(kit, pd.MultiIndex.from_arrays([_symbols(kit)] * 2))),
        lambda kit: kit.make().fit(_frame(kit, pd.MultiIndex.from_arrays([_symbols(kit)] * 2).get_level_values(0))),
        as_fitted,
        of=("text", "llmdsc"),
    ),
    works(
        'Names hold symbol and Ensembl id ("SST|ENSG00000157005")',
        "the part that is known is found.",
        "Nothing.",
        lambda kit: kit.make().fit(named(kit, [f"{name}|ENSG{i:011}" for i, name in enumerate(_symbols(kit))])),
        _all_known,
        of=("text",),
    ),
    works(
        'Names have a genome in front ("GRCh38_SST")',
        "the genome is left out.",
        "Nothing.",
        lambda kit: kit.make().fit(named(kit, [f"GRCh38______{name}" for name in _symbols(kit)])),
        _all_known,
        of=("text",),
    ),
    works(
        'A spreadsheet has turned names into dates ("1-Mar")',
        "they are matched to the genes of that family.",
        "Nothing.",
        lambda kit: (_matched("1-Mar", "2021-03-01"), ["MARCHF1", "MARCHF1"]),
        same,
    ),
    works(
        'Human symbols are written as those of mouse ("Sst")',
        "genes are taken for mouse genes, and found there where mice have them.",
        "Set ``descriptions__species=`` if the guess in ``species_`` is wrong.",
        lambda kit: kit.make().fit(named(kit, [name.capitalize() for name in _symbols(kit)])).species_,
        lambda kit, species: same(kit, (species, "mouse")),
        of=("text",),
    ),
    works(
        "Genes of two genomes are in one X",
        "each is matched by its symbol, without regard to the prefix.",
        "Nothing.",
        lambda kit: kit.make().fit(
            named(kit, [f"{'hg19_' if i % 2 else 'GRCh38_'}{name}" for i, name in enumerate(_symbols(kit))])
        ),
        _all_known,
        of=("text",),
    ),
    error(
        "``species=`` of :class:`~skst.genes.GeneDescriptions` is another organism",
        r"The 'species' parameter of GeneDescriptions must be a str among .*Got 'rat' instead",
        "lists what there is.",
        'Pass ``descriptions=`` of your organism, with a column "symbol".',
        lambda kit: kit.make(descriptions__species="rat").fit(kit.tissue()),
        lambda kit: kit.make(descriptions__species="human").fit(kit.tissue()),
        as_fitted,
        of=("text",),
        kind=InvalidParameterError,
    ),
    warning(
        "X is transposed: spots are columns",
        "None of the 200 gene names of X, such as 'spot0', 'spot1', 'spot2'",
        "shows names of spots where those of genes should be.",
        "``X.T``.",
        lambda kit: kit.make().fit(kit.tissue().to_df().T),
        lambda kit: kit.make().fit(kit.tissue().to_df().T.T),
        as_fitted,
        of=("text", "llmdsc"),
    ),
]


def _unique(adata):
    adata.var_names_make_unique()
    return adata
