"""What is known about genes: NCBI's public summaries, and a small table that comes with the package."""

import csv
import os
import secrets
import tempfile
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skst.files.home import find_file, get_data_home, writable_home
from skst.files.untrusted import open_text, told
from skst.genes.identity import is_ensembl, match_genes
from skst.genes.templates import gene_text
from skst.inputs.gene_names import is_missing, is_number

COLUMNS = (
    "symbol",
    "species",
    "name",
    "summary",
    "source",
    "entrez_id",
    "ensembl_id",
    "aliases",
    "previous_symbols",
    "locus_type",
)

_NCBI = "https://ftp.ncbi.nlm.nih.gov/gene/DATA"
_TAX_IDS = {"human": "9606", "mouse": "10090"}
_GENE_INFO = {"human": "Homo_sapiens", "mouse": "Mus_musculus"}
_MARKERS = Path(__file__).with_name("marker_descriptions.tsv")


def fetch_gene_descriptions(
    species: str = "human", *, data_home: str | os.PathLike[str] | None = None, download_if_missing: bool = True
) -> pd.DataFrame:
    """Names and summaries of all genes of a species.

    The table is read from ``gene_text/{species}.tsv.gz`` in the data home.  Where it is not there, NCBI's
    files ``gene_info`` and ``gene_summary`` are downloaded (some 30 MB), put into this form and kept for the
    next call.  NCBI renews these files every day, so they have no fixed checksum and two downloads may
    differ; keep the written table to repeat a result.

    Parameters
    ----------
    species : {"human", "mouse"}, default="human"
        Few mouse genes have a summary of their own; the others get that of the human gene of the same symbol,
        and "source" says so.
    data_home : str or path-like, default=None
        See :func:`skst.datasets.get_data_home`.  If it cannot be written, a downloaded table goes to the
        cache directory instead.
    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading.

    Returns
    -------
    DataFrame
        One gene a row, every column of str, "" where nothing is known: symbol, species, name, summary,
        source, entrez_id, ensembl_id, aliases, previous_symbols (both ``|``-separated) and locus_type.  A
        table that was put into the data home by other means may have more columns.

    Raises
    ------
    ValueError
        If `species` is neither "human" nor "mouse".
    OSError
        If the table is absent and is not to be, or cannot be, downloaded.

    See Also
    --------
    load_marker_descriptions : The small table that needs no download.

    Examples
    --------
    >>> from skst.genes import fetch_gene_descriptions
    >>> genes = fetch_gene_descriptions("mouse")  # doctest: +SKIP
    """
    _check_species(species)
    path = _find_fetched(species, data_home)
    if path is None:
        if not download_if_missing:
            raise OSError(
                f"The {species} gene descriptions are not in {get_data_home(data_home)}; call "
                "fetch_gene_descriptions with download_if_missing=True, or set data_home to the parent of "
                "gene_text."
            )
        path = _download(species, data_home)
    return read_descriptions(path)


def load_marker_descriptions(species: str = "human") -> pd.DataFrame:
    """Descriptions of some 380 marker genes, which come with the package.

    They cover the layers and cell types of the cortex, blood and immune cells, pancreas, breast, lung, the
    cell cycle and a few genes that are expressed everywhere.

    Parameters
    ----------
    species : {"human", "mouse"}, default="human"
        Whose symbols to use; genes that this species lacks are left out.

    Returns
    -------
    DataFrame
        The columns of :func:`fetch_gene_descriptions`.

    Raises
    ------
    ValueError
        If `species` is neither "human" nor "mouse".

    Examples
    --------
    >>> from skst.genes import load_marker_descriptions
    >>> genes = load_marker_descriptions("mouse").set_index("symbol")
    >>> genes.loc["Plp1", "summary"]
    'Makes the most abundant protein of central myelin; marks oligodendrocytes and outlines white matter.'
    """
    _check_species(species)
    table = _read_table(_MARKERS)
    if species == "mouse":
        table = table[table["mouse_symbol"] != ""].reset_index(drop=True)
        table["symbol"] = table["mouse_symbol"]
    table = table.drop(columns="mouse_symbol").assign(species=species, source="skst marker table")
    return _complete(table, "the marker table")[list(COLUMNS)]


def find_descriptions(
    species: str, given: pd.DataFrame | str | os.PathLike[str] | None = None
) -> tuple[pd.DataFrame, str]:
    """The table that describes the genes of a species, without a download, and where it is from.

    Parameters
    ----------
    species : {"human", "mouse"}
    given : DataFrame, str or path-like, default=None
        The user's own, which comes first; else a fetched one, else the markers.

    Returns
    -------
    table : DataFrame
    origin : {"own", "fetched", "markers"}
    """
    if given is not None:
        return read_descriptions(given), "own"
    path = _find_fetched(species, None)
    return (load_marker_descriptions(species), "markers") if path is None else (read_descriptions(path), "fetched")


def read_descriptions(descriptions: pd.DataFrame | str | os.PathLike[str]) -> pd.DataFrame:
    """Read a description table.

    Parameters
    ----------
    descriptions : DataFrame, str or path-like
        The table, or a tab-separated (``.csv``: comma-separated) file, compressed or not, with a column
        "symbol".

    Returns
    -------
    DataFrame
        With all columns of :func:`fetch_gene_descriptions`; absent ones and missing values are "".  The
        result of reading a file is shared between calls: do not write to it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If it is neither a table nor a path.
    ValueError
        If it cannot be read as a table, or there is no column "symbol".
    """
    if isinstance(descriptions, pd.DataFrame):
        return _complete(descriptions.astype(object).where(descriptions.notna(), "").astype(str), "descriptions")
    if not isinstance(descriptions, (str, os.PathLike)):
        raise TypeError(f"descriptions are a {type(descriptions).__name__}; pass a DataFrame or the path of a table.")
    path = Path(descriptions).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"descriptions={str(path)!r} is not a file; check the path.")
    stat = path.stat()
    return _read_complete(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


def describe_genes(
    names: NDArray[np.object_], descriptions: pd.DataFrame, species: str, text: str
) -> tuple[pd.DataFrame, NDArray[np.object_]]:
    """Match genes and write their texts.

    Parameters
    ----------
    names : ndarray of str of shape (n_genes,)
        Gene names of the data.
    descriptions : DataFrame
        As from :func:`read_descriptions`.
    species : {"human", "mouse"}
        Species of the data.
    text : {"symbol", "name", "summary", "card"}
        What to say of a gene.

    Returns
    -------
    report : DataFrame of shape (n_genes, 6)
        Columns gene, symbol, matched, has_summary, source and text; "" where there is none.
    symbols : ndarray of str of shape (n_genes,), dtype object
        What a gene is called in texts: its symbol, else its name in the data; "" for an unmatched Ensembl id, a bare
        number, and a missing name.
    """
    report = match_genes(names, descriptions, species)
    rows = report.pop("row").to_numpy()
    known = rows >= 0
    matched = descriptions.iloc[rows[known]]
    symbols = report["symbol"].to_numpy(dtype=object).copy()
    symbols[~known] = ["" if _says_nothing(name.strip()) else name.strip() for name in names[~known]]
    if text == "symbol":
        texts = symbols
    else:
        texts = np.full(len(names), "", dtype=object)
        texts[known] = [gene_text(row, text) for row in matched.to_dict("records")]
    report["has_summary"] = False
    report.loc[known, "has_summary"] = (matched["summary"] != "").to_numpy()
    report["source"] = ""
    report.loc[known, "source"] = matched["source"].to_numpy()
    return report.assign(text=texts), symbols


def _says_nothing(name):
    return is_missing(name) or is_number(name) or is_ensembl(name)


def _check_species(species):
    if species not in _TAX_IDS:
        raise ValueError(f"species={species!r} is not one of {sorted(_TAX_IDS)}.")


def table_of(species: str) -> Path:
    """Where in the data home the table of a species is kept."""
    return Path("gene_text") / f"{species}.tsv.gz"


def _find_fetched(species, data_home):
    return find_file(table_of(species), data_home)


@lru_cache(maxsize=2)  # a grid search fits many times in one process
def _read_complete(path, state):
    try:
        table = _read_table(path)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise ValueError(
            f"descriptions={str(path)!r} cannot be read as a table ({told(error)}); give one with tabs (or commas, for "
            ".csv) between its columns."
        ) from error
    return _complete(table, str(path))


def _read_table(path):
    separator = "," if ".csv" in path.suffixes else "\t"
    if path.suffix not in ("", ".tsv", ".csv", ".txt", ".gz"):  # compressed otherwise
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    with open_text(path) as file:
        return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False)


def _complete(table, origin):
    if "symbol" not in table:
        raise ValueError(
            f"{origin} has the columns {list(table.columns)} but none called 'symbol'; name that of the gene "
            "symbols so."
        )
    missing = [column for column in COLUMNS if column not in table]
    # Plain objects, whatever pandas makes of text by default.
    return table.assign(**dict.fromkeys(missing, "")).astype(object)


def _download(species, data_home):
    with tempfile.TemporaryDirectory() as directory:
        summaries = _parse_summaries(_retrieve("gene_summary.gz", directory), _TAX_IDS[species])
        table = _parse_gene_info(_retrieve_info(species, directory), species, summaries)
        if species == "mouse":
            summaries = _parse_summaries(_retrieve("gene_summary.gz", directory), _TAX_IDS["human"])
            human = _parse_gene_info(_retrieve_info("human", directory), "human", summaries)
            table = _borrow_summaries(table, human)
    path = writable_home(data_home) / table_of(species)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        table.to_csv(partial, sep="\t", index=False, lineterminator="\n", compression="gzip")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _retrieve_info(species, directory):
    return _retrieve(f"GENE_INFO/Mammalia/{_GENE_INFO[species]}.gene_info.gz", directory)


def _retrieve(name, directory):
    import pooch

    url = f"{_NCBI}/{name}"
    try:
        return Path(pooch.retrieve(url, known_hash=None, fname=Path(name).name, path=directory))
    except Exception as error:  # each protocol and proxy has exceptions of its own
        raise OSError(
            f"{url} could not be downloaded ({type(error).__name__}); check the network, or put gene_text/"
            "SPECIES.tsv.gz into the data home by hand."
        ) from error


def _parse_gene_info(path, species, summaries):
    columns = {
        "GeneID": "entrez_id",
        "Symbol": "ncbi_symbol",
        "Synonyms": "aliases",
        "dbXrefs": "references",
        "description": "name",
        "type_of_gene": "locus_type",
        "Symbol_from_nomenclature_authority": "symbol",
        "Full_name_from_nomenclature_authority": "full_name",
    }
    # A gene_info file also lists sub-species, and stretches of the genome that are no genes.
    table = _read_ncbi(path, _TAX_IDS[species], columns).query("type_of_gene != 'biological-region'")
    table = table.replace("-", "").rename(columns=columns).reset_index(drop=True)
    named = table["symbol"] != ""
    # NCBI's own symbol differs for mitochondrial genes (COX1 for MT-CO1) and is kept as an alias.
    other = table["ncbi_symbol"].where(named & (table["ncbi_symbol"] != table["symbol"]), "")
    table["symbol"] = table["symbol"].where(named, table["ncbi_symbol"])
    table["aliases"] = (table["aliases"] + "|" + other).str.strip("|")
    table["name"] = table["full_name"].where(table["full_name"] != "", table["name"])
    table["ensembl_id"] = table["references"].str.extract(r"Ensembl:(ENS[A-Z]*G\d+)", expand=False).fillna("")
    table["summary"] = table["entrez_id"].map(summaries).fillna("")
    table["source"] = "NCBI gene_info"
    table.loc[table["summary"] != "", "source"] = "NCBI gene_info and gene_summary"
    table["species"] = species
    return table[table["symbol"] != "NEWENTRY"].reindex(columns=COLUMNS, fill_value="")


def _parse_summaries(path, tax_id):
    table = _read_ncbi(path, tax_id, ("GeneID", "Source", "Summary"))
    # RefSeq's curated summary comes before those of other sources.
    table = table.iloc[(table["Source"] != "RefSeq").argsort(kind="stable")]
    return table.drop_duplicates("GeneID").set_index("GeneID")["Summary"]


def _read_ncbi(path, tax_id, columns):
    """The rows of one species; in chunks, because the files hold all of them."""
    # Quotation marks are text in these files.
    chunks = pd.read_csv(
        path,
        sep="\t",
        dtype=str,
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        usecols=["#tax_id", *columns],
        chunksize=200_000,
    )
    return pd.concat([chunk[chunk["#tax_id"] == tax_id] for chunk in chunks]).drop(columns="#tax_id")


def _borrow_summaries(mouse, human):
    """Give mouse genes without a summary that of the human gene of the same symbol."""
    human = human[human["summary"] != ""].drop_duplicates("symbol").set_index("symbol")["summary"]
    borrowed = mouse["symbol"].str.upper().map(human).fillna("")
    borrow = (mouse["summary"] == "") & (borrowed != "")
    return mouse.assign(
        summary=mouse["summary"].where(~borrow, borrowed),
        source=mouse["source"].where(~borrow, "NCBI gene_info, gene_summary of the human gene"),
    )
