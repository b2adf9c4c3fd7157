"""Tables of gene descriptions."""

import gzip
import os
import tempfile

import h5py
import pandas as pd
import pytest

from skst.files.home import get_data_home
from skst.genes import fetch_gene_descriptions, load_marker_descriptions, match_genes
from skst.genes.descriptions import COLUMNS, find_descriptions, read_descriptions

INFO_HEADER = (
    "#tax_id GeneID Symbol LocusTag Synonyms dbXrefs chromosome map_location description type_of_gene "
    "Symbol_from_nomenclature_authority Full_name_from_nomenclature_authority Nomenclature_status "
    "Other_designations Modification_date Feature_type"
).split()


def _info(tax_id, gene_id, symbol, *, aliases="-", refs="-", name="-", kind="protein-coding", official=("-", "-")):
    fields = [
        tax_id,
        gene_id,
        symbol,
        "-",
        aliases,
        refs,
        "1",
        "-",
        name,
        kind,
        *official,
        "O",
        "-",
        "1",
        "-",
    ]
    return "\t".join(map(str, fields))


HUMAN = [
    "\t".join(INFO_HEADER),
    _info(
        9606, 6750, "SST", aliases="SMST|SST1", refs="MIM:182450|HGNC:HGNC:11329|Ensembl:ENSG00000157005",
        name="somatostatin", official=("SST", "somatostatin"),
    ),
    _info(9606, 4512, "COX1", name="oxidase I", official=("MT-CO1", "mitochondrially encoded CO1")),
    _info(9606, 7, "QUOTE", name='a "quoted" name'),
    _info(9606, 8, "LOC8", kind="biological-region"),
    _info(9606, 9, "NEWENTRY"),
    _info(63221, 10, "ND1"),
]  # fmt: skip
MOUSE = [
    "\t".join(INFO_HEADER),
    _info(10090, 20604, "Sst", name="somatostatin"),
    _info(10090, 20605, "Own1", name="own"),
    _info(10090, 20606, "Odd2"),
]
SUMMARIES = [
    "#tax_id\tGeneID\tSource\tSummary",
    "9606\t6750\tAlliance of Genome Resources\tSecond choice.",
    "9606\t6750\tRefSeq\tA hormone.",
    "10090\t20605\tRefSeq\tIts own summary.",
    "7227\t7\tFlyBase\tOf a fly.",
]


@pytest.fixture
def ncbi(tmp_path, monkeypatch):
    """Serve the files above in place of NCBI's and count how often."""
    served = []

    def retrieve(url, known_hash, fname, path):
        served.append(url)
        name = url.rsplit("/", 1)[1]
        lines = {
            "gene_summary.gz": SUMMARIES,
            "Homo_sapiens.gene_info.gz": HUMAN,
            "Mus_musculus.gene_info.gz": MOUSE,
        }
        file = os.path.join(path, fname)
        with gzip.open(file, "wt", encoding="utf-8") as stream:
            stream.write("\n".join(lines[name]) + "\n")
        return file

    monkeypatch.setattr("pooch.retrieve", retrieve)
    monkeypatch.setenv("SKST_DATA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path / "cache"))
    return served


def test_download_human(ncbi, tmp_path):
    table = fetch_gene_descriptions("human")
    assert table["symbol"].tolist() == ["SST", "MT-CO1", "QUOTE"]
    assert tuple(table.columns) == COLUMNS
    sst = table.iloc[0]
    assert sst["summary"] == "A hormone." and sst["ensembl_id"] == "ENSG00000157005"
    assert sst["aliases"] == "SMST|SST1" and sst["entrez_id"] == "6750" and sst["locus_type"] == "protein-coding"
    assert table.iloc[1]["aliases"] == "COX1" and table.iloc[1]["name"] == "mitochondrially encoded CO1"
    assert table.iloc[2]["name"] == 'a "quoted" name' and table.iloc[2]["summary"] == ""
    assert not table.isin(["-"]).any(axis=None)
    assert [path.name for path in (tmp_path / "home" / "gene_text").iterdir()] == ["human.tsv.gz"]
    # The second call reads the file.
    n_served = len(ncbi)
    pd.testing.assert_frame_equal(fetch_gene_descriptions("human", download_if_missing=False), table)
    assert len(ncbi) == n_served
    pd.testing.assert_frame_equal(find_descriptions("human")[0], table)
    assert find_descriptions("human")[1] == "fetched"


def test_mouse_borrows_human_summaries(ncbi):
    table = fetch_gene_descriptions("mouse").set_index("symbol")
    assert table["summary"].to_dict() == {"Sst": "A hormone.", "Own1": "Its own summary.", "Odd2": ""}
    assert "human gene" in table.loc["Sst", "source"] and "human gene" not in table.loc["Own1", "source"]
    assert set(table["species"]) == {"mouse"}


def test_small_chunks_give_the_same(ncbi, monkeypatch):
    whole = fetch_gene_descriptions("human", data_home="whole-is-not-there")
    read = pd.read_csv
    monkeypatch.setattr(
        pd, "read_csv", lambda *a, **k: read(*a, **(k | ({"chunksize": 1} if "chunksize" in k else {})))
    )
    os.remove("whole-is-not-there/gene_text/human.tsv.gz")
    pd.testing.assert_frame_equal(fetch_gene_descriptions("human", data_home="whole-is-not-there"), whole)


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_failed_download_leaves_nothing(ncbi, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("pooch.retrieve", refuse)
    with pytest.raises(OSError, match="gene_summary.gz could not be downloaded"):
        fetch_gene_descriptions("human")
    assert not list(tmp_path.rglob("*human*"))


def test_interrupted_write_leaves_nothing(ncbi, tmp_path, monkeypatch):
    def full(self, path, **kwargs):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="disk full"):
        fetch_gene_descriptions("human")
    assert not list((tmp_path / "home" / "gene_text").iterdir())


def test_absent_and_not_to_be_downloaded(ncbi):
    with pytest.raises(OSError, match="download_if_missing=True"):
        fetch_gene_descriptions("mouse", download_if_missing=False)
    assert ncbi == []
    markers, origin = find_descriptions("mouse")
    assert markers["source"].unique().tolist() == ["skst marker table"] and origin == "markers"


def test_read_only_home_writes_to_the_cache(ncbi, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()

    def refuse(dir):
        raise PermissionError(f"{dir} is read-only")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    fetch_gene_descriptions("human")
    assert (tmp_path / "cache" / "gene_text" / "human.tsv.gz").exists()
    assert not list((tmp_path / "home").iterdir())
    # It is found again.
    assert len(fetch_gene_descriptions("human", download_if_missing=False)) == 3


@pytest.mark.parametrize("call", [fetch_gene_descriptions, load_marker_descriptions])
def test_unknown_species(call):
    with pytest.raises(ValueError, match="species='rat'"):
        call("rat")


def test_read_descriptions_completes_tables(tmp_path):
    given = pd.DataFrame({"symbol": ["SST", "GCG"], "summary": ["A hormone.", None]})
    from_frame = read_descriptions(given)
    assert set(COLUMNS) <= set(from_frame) and from_frame["summary"].tolist() == ["A hormone.", ""]
    for name, separator in (("t.tsv", "\t"), ("t.tsv.gz", "\t"), ("t.csv.gz", ",")):
        given.to_csv(tmp_path / name, sep=separator, index=False)
        pd.testing.assert_frame_equal(read_descriptions(tmp_path / name), from_frame)
    assert given.columns.tolist() == ["symbol", "summary"]
    with pytest.raises(ValueError, match="none called 'symbol'"):
        read_descriptions(given.rename(columns={"symbol": "gene"}))


def test_changed_file_is_read_again(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("symbol\nSST\n")
    assert read_descriptions(path)["symbol"].tolist() == ["SST"]
    path.write_text("symbol\nGCG\n")
    os.utime(path, ns=(1, 1))
    assert read_descriptions(path)["symbol"].tolist() == ["GCG"]


def test_marker_table_is_sound():
    human, mouse = load_marker_descriptions("human"), load_marker_descriptions("mouse")
    assert len(human) > 300 and 300 < len(mouse) <= len(human)
    for table in (human, mouse):
        assert tuple(table.columns) == COLUMNS
        assert table["symbol"].is_unique and (table["symbol"] != "").all()
        assert table["summary"].str.split().str.len().between(6, 30).all()
        assert (table["name"] != "").all()
        owners = table.set_index("symbol")["aliases"].str.upper().str.split("|").explode()
        owners = owners[owners != ""]
        assert owners.is_unique
        # No alias may be the symbol of another gene.
        foreign = owners[owners.index.str.upper() != owners]
        assert not set(foreign) & set(table["symbol"].str.upper())
    assert {"Ins2", "Plp1", "mt-Co1"} <= set(mouse["symbol"]) and "GNLY" not in set(mouse["symbol"].str.upper())


@pytest.mark.parametrize("species", ["human", "mouse"])
def test_markers_are_official_symbols(species):
    if not (get_data_home() / "gene_text" / f"{species}.tsv.gz").exists():
        pytest.skip(f"no {species} gene descriptions in the data home")
    table = fetch_gene_descriptions(species, download_if_missing=False)
    found = match_genes(load_marker_descriptions(species)["symbol"], table, species)
    official = found["matched"].isin(["symbol"]) | found["gene"].str.startswith("mt-")
    assert official.all(), found[~official]


def test_markers_cover_osmfish():
    path = get_data_home() / "osmFISH_SScortex_mouse_all_cells.loom"
    if not path.exists():
        pytest.skip("no osmFISH in the data home")
    with h5py.File(path) as file:
        genes = file["row_attrs/Gene"][:].astype(str)
    assert (match_genes(genes, load_marker_descriptions("mouse"))["matched"] != "unmatched").all()
