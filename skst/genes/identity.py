"""What a gene is called: match the names of a data set to the genes of a description table."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skst.inputs.gene_names import clean_names, is_missing, is_number

_ENSEMBL = re.compile(r"^(ENS[A-Z]*G\d{11})(?:\.\d+)?(?:_PAR_Y)?$", re.IGNORECASE)
# Within a name of several parts; ids in the pseudo-autosomal region of Y once had an R in place of a zero.
_ID_WITHIN = re.compile(r"(?<![A-Z0-9])(ENS[A-Z]*G)([R\d]\d{10})(?:\.\d+)?(?:_PAR_Y)?(?![A-Z0-9])", re.IGNORECASE)
# What is put before or after a name where reads were aligned to several genomes, and before ids in files of genomes.
_HUMAN_GENOME, _MOUSE_GENOME = r"GRCh\d\d|hg\d\d|human", r"GRCm\d\d|mm\d{1,2}|mouse"
_PREFIX = re.compile(rf"^(?:(?:{_HUMAN_GENOME}|{_MOUSE_GENOME})[-_:|.]+|gene[-:])", re.IGNORECASE)
_GENOME_AFTER = re.compile(rf"[-_:|.]+(?:{_HUMAN_GENOME}|{_MOUSE_GENOME})$", re.IGNORECASE)
_FIELDS = re.compile(r"[|;]")
_JOINTS = "-_:|;.,/ ()[]\"'\ufeff"
_SAYS_MOUSE = re.compile(rf"ENSMUSG|^(?:{_MOUSE_GENOME})_", re.IGNORECASE)
_SAYS_HUMAN = re.compile(rf"ENSG\d|^(?:{_HUMAN_GENOME})_", re.IGNORECASE)
_LIKE_MOUSE = re.compile(r"mt-[A-Z]|[A-Z0-9][a-z0-9.-]*[a-z][a-z0-9.-]*$|\d+[A-Z]\d+Rik")
_LIKE_HUMAN = re.compile(r"(?=.*[A-Z])[A-Z0-9.-]+$|C[0-9XY]+orf\d")
_DAY_MONTH = re.compile(r"^(\d{1,2})-(Mar|Sep|Sept|Dec)$", re.IGNORECASE)
_MONTH_DAY = re.compile(r"^(Mar|Sep|Sept|Dec)-(\d{1,2})$", re.IGNORECASE)
_ISO_DATE = re.compile(r"^\d{4}-(03|09|12)-(\d{2})(?: 00:00:00)?$")
_MITOCHONDRIAL = re.compile(r"^MT-(ND[1-6]|ND4L|CO[1-3]|CYT?B|ATP[68])$", re.IGNORECASE)
_SUFFIX = re.compile(r"^(.+?)[-._]\d{1,3}$")

# Gene families that spreadsheets turn into dates, newest symbol first.
_DATE_GENES = {
    "mar": ("MARCHF", "MARCH"),
    "sep": ("SEPTIN", "SEPT", "SEP"),
    "dec": ("DELEC", "DEC"),
}
# Columns of a table of descriptions that decide which gene has a name.
_NAMED_BY = ("symbol", "ensembl_id", "aliases", "previous_symbols", "species", "summary")
_MONTHS = {"03": "mar", "09": "sep", "12": "dec", "sept": "sep"}


def is_ensembl(name: str) -> bool:
    """True if `name` is an Ensembl gene id, with or without version."""
    return _ENSEMBL.match(name) is not None


def detect_species(names: Sequence[str] | NDArray[np.object_]) -> str:
    """Tell human from mouse gene names.

    Parameters
    ----------
    names : sequence of str
        Symbols or Ensembl gene ids.

    Returns
    -------
    {"human", "mouse"}
        "mouse" if more names look like mouse genes (``ENSMUSG...``, "Sst", "mt-Nd1") than like human ones
        (``ENSG...``, "SST", "C9orf47").

    Examples
    --------
    >>> from skst.genes.identity import detect_species
    >>> detect_species(["Sst", "Gad1", "mt-Nd1"])
    'mouse'
    >>> detect_species(["ENSG00000157005.4", "ENSG00000128683"])
    'human'
    """
    names = [name for name in clean_names(names) if not is_missing(name)]
    n_mouse = sum(_is_mouse(name) for name in names)
    n_human = sum(_is_human(name) for name in names if not _is_mouse(name))
    return "mouse" if n_mouse > n_human else "human"


def _is_mouse(name):
    if _SAYS_MOUSE.search(name):
        return True
    return not _SAYS_HUMAN.search(name) and _LIKE_MOUSE.match(_FIELDS.split(_PREFIX.sub("", name))[0]) is not None


def _is_human(name):
    return bool(_SAYS_HUMAN.search(name) or _LIKE_HUMAN.match(_FIELDS.split(_PREFIX.sub("", name))[0]))


def match_genes(
    names: Sequence[str] | NDArray[np.object_], descriptions: pd.DataFrame, species: str = "auto"
) -> pd.DataFrame:
    """Match gene names to the rows of a description table.

    The first rule that finds one gene wins: the symbol itself; an Ensembl id, its version ignored; the symbol
    in another case; a previous symbol; an alias; a date that a spreadsheet made of a symbol ("1-Mar",
    "Sep-02", "2021-03-01"); a name that R made valid ("HLA.A", "X7SK"); a symbol with the number that tells
    duplicates apart ("TBCE-1", "TBCE.1"); a part of the name, where it holds symbol and id
    ("ENSG00000157005_SST"), a genome ("GRCh38_SST", "mm10___Sst") or several fields ("SST|2ef1e7b").  Previous symbols
    and aliases that belong to more than one gene match nothing, and neither do missing names and bare numbers, which
    number rows or are ids of other databases; "NA" and "nan" as text match a symbol that is written so.

    Parameters
    ----------
    names : sequence of str of shape (n_genes,)
        Names as they are in the data.
    descriptions : DataFrame
        One gene a row, with column "symbol" and as many as there are of "ensembl_id", "aliases",
        "previous_symbols" (``|``-separated), "species" and "summary".
    species : {"auto", "human", "mouse"}, default="auto"
        Rows of this species are used where the table has any; "auto" tells it from `names`.

    Returns
    -------
    DataFrame of shape (n_genes, 4), in the order of `names`
        "gene" (the name given), "symbol" (the matched symbol, "" if none), "matched" ("symbol", "ensembl",
        "case", "previous symbol", "alias", "spreadsheet date", "R name", "numbered duplicate", "part of the name" or
        "unmatched")
        and "row" (position in `descriptions`, -1 if none).

    Raises
    ------
    ValueError
        If `descriptions` has no column "symbol".

    Examples
    --------
    >>> import pandas as pd
    >>> from skst.genes import match_genes
    >>> table = pd.DataFrame({"symbol": ["SST", "MARCHF1"], "aliases": ["SMST", ""]})
    >>> table["ensembl_id"] = ["ENSG00000157005", ""]
    >>> match_genes(["Sst", "SMST", "1-Mar", "ENSG00000157005.4", "GFAP"], table)[["symbol", "matched"]]
        symbol           matched
    0      SST              case
    1      SST             alias
    2  MARCHF1  spreadsheet date
    3      SST           ensembl
    4                  unmatched
    """
    if "symbol" not in descriptions:
        raise ValueError(
            f"descriptions has the columns {list(descriptions.columns)} but none called 'symbol'; name that "
            "of the gene symbols so."
        )
    names = clean_names(names)
    index = _index(_Table(descriptions, detect_species(names) if species == "auto" else species))
    found = [index.find(name.strip()) for name in names]
    rows = np.array([row for row, _ in found], dtype=np.int64)
    symbols = np.append(descriptions["symbol"].to_numpy(dtype=object), "")  # so that row -1 reads ""
    return pd.DataFrame({"gene": names, "symbol": symbols[rows], "matched": [how for _, how in found], "row": rows})


def match_vectors(
    genes: pd.DataFrame, names: Sequence[str] | NDArray[np.object_], descriptions: pd.DataFrame, species: str
) -> NDArray[np.integer]:
    """Find the vectors of matched genes in a table that may call them otherwise.

    Parameters
    ----------
    genes : DataFrame
        What :func:`match_genes` returns for the genes of the data.
    names : sequence of str of shape (n_vectors,)
        Gene names of the table of vectors: symbols of any age, aliases or Ensembl ids.
    descriptions : DataFrame
        The table that `genes` was matched to, which knows which names are of one gene.
    species : {"human", "mouse"}
        Species of the data.

    Returns
    -------
    ndarray of int of shape (n_genes,)
        Row of each gene's vector, -1 if it has none.
    """
    names = clean_names(names)
    rows = match_genes(genes["gene"], pd.DataFrame({"symbol": names}), species)["row"].to_numpy().copy()
    official = match_genes(names, descriptions, species)["symbol"].to_numpy()
    named = np.flatnonzero(official != "")
    by_symbol = _first(pd.Series(official[named], index=named))
    for i in np.flatnonzero(rows < 0):
        rows[i] = by_symbol.get(genes["symbol"].iloc[i], -1)
    return rows


class _Table:
    """A table of descriptions and a species, equal to others of the same content."""

    def __init__(self, descriptions, species):
        self.descriptions = descriptions
        self.species = species
        columns = [name for name in _NAMED_BY if name in descriptions]
        # Texts know their hashes, so this takes milliseconds, and a table that was changed in place is another one.
        self._content = species, *((name, *map(_content, descriptions[name])) for name in columns)
        self._hash = hash(self._content)

    def __hash__(self):
        return self._hash

    def __eq__(self, other):
        return self._hash == other._hash and self._content == other._content


def _content(value):
    return value if type(value) is str else (type(value), str(value))


@lru_cache(maxsize=2)  # a search fits many times with one table
def _index(table):
    return _NameIndex(table.descriptions, table.species)


class _NameIndex:
    """Everything a gene may be called, as dictionaries from name to row."""

    def __init__(self, descriptions, species):
        rows = np.arange(len(descriptions))
        if "species" in descriptions:
            same = descriptions["species"].to_numpy() == species
            rows = rows[same] if same.any() else rows
        table = descriptions.iloc[rows]
        symbols = pd.Series(clean_names(table["symbol"]), index=rows, dtype=object)
        if "summary" in table:
            # Of several rows of one symbol the one that says something comes first.
            said = (table["summary"].fillna("").to_numpy() != "").astype(int)
            symbols = symbols.iloc[np.argsort(-said, kind="stable")]
        self.symbol = _first(symbols)
        self.ensembl = _first(_column(table, "ensembl_id", rows).str.upper())
        self.case = _only(symbols.drop_duplicates().str.upper())
        previous = _column(table, "previous_symbols", rows).str.upper()
        aliases = _column(table, "aliases", rows).str.upper()
        self.previous = _only(previous)
        self.alias = _only(aliases)
        others = pd.concat([previous, aliases])
        self.mangled = _mangled(others) | _mangled(symbols.drop_duplicates().str.upper())

    def find(self, name):
        if not name or is_number(name):
            return -1, "unmatched"
        if name in self.symbol:
            return self.symbol[name], "symbol"
        if is_missing(name):
            return -1, "unmatched"
        ensembl = _ENSEMBL.match(name)
        if ensembl:
            row = self.ensembl.get(ensembl[1].upper(), -1)
            return row, "unmatched" if row < 0 else "ensembl"
        row, how = self._find_known(name)
        if row >= 0:
            return row, how
        for candidate in _date_symbols(name):
            row, _ = self._find_known(candidate)
            if row >= 0:
                return row, "spreadsheet date"
        mitochondrial = _MITOCHONDRIAL.match(name)
        if mitochondrial and (symbol := _ncbi_symbol(mitochondrial[1].upper())) in self.case:
            return self.case[symbol], "alias"
        row = self._find_r_name(name)
        if row >= 0:
            return row, "R name"
        suffix = _SUFFIX.match(name)
        if suffix:
            base = suffix[1]
            for known, key in ((self.symbol, base), (self.ensembl, base.upper()), (self.case, base.upper())):
                if key in known:
                    return known[key], "numbered duplicate"
        return self._find_part(name)

    def _find_known(self, name):
        name = name.upper()
        for known, how in ((self.case, "case"), (self.previous, "previous symbol"), (self.alias, "alias")):
            if name in known:
                return known[name], how
        return -1, "unmatched"

    def _find_part(self, name):
        """The gene of a name that holds more than one: an id comes first, then what is left beside id and genome."""
        ids = _ID_WITHIN.findall(name.upper())
        rows = {self.ensembl.get(kind + number.replace("R", "0"), -1) for kind, number in ids} - {-1}
        if not rows:
            rest = _ID_WITHIN.sub("|", _GENOME_AFTER.sub("", _PREFIX.sub("", name))).strip(_JOINTS)
            if rest != name.strip(_JOINTS):
                row, how = self.find(rest)
                rows = set() if row < 0 or how == "alias" else {row}
            elif len(fields := _FIELDS.split(name)) > 1:
                found = (self.find(field.strip()) for field in fields)
                rows = {row for row, how in found if how in ("symbol", "ensembl", "case")}
        return (rows.pop(), "part of the name") if len(rows) == 1 else (-1, "unmatched")

    def _find_r_name(self, name):
        name = name.upper()
        if re.match(r"X\d", name):
            row, _ = self._find_known(name[1:])
            if row >= 0:
                return row
            name = name[1:]
        return self.mangled.get(name, -1) if "." in name else -1


def _date_symbols(name):
    """Symbols that a spreadsheet may have turned into the date `name`."""
    for pattern, month, day in ((_DAY_MONTH, 2, 1), (_MONTH_DAY, 1, 2), (_ISO_DATE, 1, 2)):
        found = pattern.match(name)
        if found:
            word = found[month].lower()
            return [f"{family}{int(found[day])}" for family in _DATE_GENES[_MONTHS.get(word, word)]]
    return []


def _ncbi_symbol(name):
    """What NCBI calls the mitochondrial gene that others write with the prefix MT-."""
    return {"CYB": "CYTB"}.get(name, f"COX{name[-1]}" if name.startswith("CO") else name)


def _mangled(names):
    """Names with characters that R does not allow, as R writes them."""
    odd = names[names.str.contains(r"[^A-Z0-9.]")]
    return _only(odd.str.replace(r"[^A-Z0-9.]", ".", regex=True))


def _column(table, column, rows):
    """Names of a ``|``-separated column, one a line, indexed by row; empty if there is no such column."""
    if column not in table:
        return pd.Series([], dtype=object, index=np.array([], dtype=np.int64))
    values = pd.Series(table[column].fillna("").to_numpy(dtype=object), index=rows).astype(str)
    values = values[values != ""].str.split("|").explode().str.strip()
    return values[values != ""]


def _first(names):
    """Name -> row, the first row where a name is repeated."""
    names = names[~names.duplicated()]
    return dict(zip(names, names.index, strict=True))


def _only(names):
    """Name -> row, for names of one row alone."""
    owners = pd.DataFrame({"name": names.to_numpy(dtype=object), "row": names.index}).drop_duplicates()
    owners = owners[~owners["name"].duplicated(keep=False)]
    return dict(zip(owners["name"], owners["row"], strict=True))
