"""Gene names to rows of a description table."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skst.files.home import get_data_home
from skst.genes import fetch_gene_descriptions, load_marker_descriptions, match_genes
from skst.genes.identity import detect_species, is_ensembl, match_vectors

TABLE = pd.DataFrame(
    [
        # symbol, ensembl_id, aliases, previous_symbols
        ("SST", "ENSG00000157005", "SMST|SOM", ""),
        ("HLA-A", "ENSG00000206503", "", "HLAA"),
        ("MARCHF1", "ENSG00000145416", "RNF171", "MARCH1"),
        ("SEPTIN2", "", "", "SEPT2|DIFF6"),
        ("SEPTIN1", "", "", "DIFF6"),
        ("SELENOF", "", "", "SEP15"),
        ("TBCE", "ENSG00000285053", "", ""),
        ("TLE5", "", "AES", ""),
        ("AES", "", "", ""),
        ("RN7SK", "", "7SK", ""),
        ("NKX2-1", "", "NKX2A", ""),
        ("ND1", "", "", ""),
        ("COX2", "", "", ""),
        ("CYTB", "", "", ""),
    ],
    columns=["symbol", "ensembl_id", "aliases", "previous_symbols"],
)


@pytest.mark.parametrize(
    ("name", "symbol", "how"),
    [
        ("SST", "SST", "symbol"),
        (" SST ", "SST", "symbol"),
        ("Sst", "SST", "case"),
        ("ENSG00000157005", "SST", "ensembl"),
        ("ENSG00000157005.14", "SST", "ensembl"),
        ("ensg00000157005", "SST", "ensembl"),
        ("ENSG00000157005-1", "SST", "numbered duplicate"),
        ("ENSG00000000001", "", "unmatched"),
        ("SOM", "SST", "alias"),
        ("march1", "MARCHF1", "previous symbol"),
        ("1-Mar", "MARCHF1", "spreadsheet date"),
        ("Mar-01", "MARCHF1", "spreadsheet date"),
        ("01-MAR", "MARCHF1", "spreadsheet date"),
        ("2021-03-01", "MARCHF1", "spreadsheet date"),
        ("2021-03-01 00:00:00", "MARCHF1", "spreadsheet date"),
        ("2-Sep", "SEPTIN2", "spreadsheet date"),
        ("15-Sep", "SELENOF", "spreadsheet date"),
        ("40-Mar", "", "unmatched"),
        ("DIFF6", "", "unmatched"),  # of two genes
        ("AES", "AES", "symbol"),  # although TLE5 has it as an alias
        ("HLA.A", "HLA-A", "R name"),
        ("X7SK", "RN7SK", "R name"),
        ("NKX2.1", "NKX2-1", "R name"),
        ("NKX2-1", "NKX2-1", "symbol"),
        ("NKX2-9", "", "unmatched"),
        ("TBCE-1", "TBCE", "numbered duplicate"),
        ("TBCE.2", "TBCE", "numbered duplicate"),
        ("SOM-1", "", "unmatched"),  # the base has to be a symbol
        ("mt-Nd1", "ND1", "alias"),
        ("mt-Co2", "COX2", "alias"),
        ("mt-Cytb", "CYTB", "alias"),
        ("MT-CYB", "CYTB", "alias"),
        ("", "", "unmatched"),
        ("ENSG00000157005_SST", "SST", "part of the name"),
        ("SST_ENSG00000157005", "SST", "part of the name"),
        ("ENSG00000157005.14|SST", "SST", "part of the name"),
        ("ENSG00000157005.14-SST", "SST", "part of the name"),
        ("ENSG00000157005.14-1", "SST", "part of the name"),
        ("SST (ENSG00000157005)", "SST", "part of the name"),
        ("ENSG00000157005_GFAP", "SST", "part of the name"),  # the id counts
        ("ENSG00000000001_SST", "SST", "part of the name"),  # unless it is unknown
        ("ENSG00000157005.15_PAR_Y", "SST", "ensembl"),
        ("ENSGR0000157005", "SST", "part of the name"),
        ("ENSG00000157005|ENSG00000206503", "", "unmatched"),  # two genes
        ("ENSG000001570051", "", "unmatched"),
        ("GRCh38_SST", "SST", "part of the name"),
        ("GRCh38______SST", "SST", "part of the name"),
        ("hg19_CTGF", "", "unmatched"),
        ("hg19_MARCH1", "MARCHF1", "part of the name"),
        ("mm10___Sst", "SST", "part of the name"),
        ("mm10_SOM", "", "unmatched"),  # no alias by half a name
        ("SST_GRCh38", "SST", "part of the name"),
        ("GRCh38_ENSG00000157005.2", "SST", "part of the name"),
        ("gene-SST", "SST", "part of the name"),
        ("gene:ENSG00000157005", "SST", "part of the name"),
        ("SST|2ef1e7b", "SST", "part of the name"),
        ("SST;TBCE", "", "unmatched"),  # two genes
        ("HLA_A", "", "unmatched"),
        ("SST_TBCE", "", "unmatched"),
        ("nan", "", "unmatched"),
        ("225", "", "unmatched"),
        ("52.0", "", "unmatched"),
        ("-1", "", "unmatched"),
    ],
)
def test_match_one(name, symbol, how):
    found = match_genes([name], TABLE, "human").iloc[0]
    assert (found["symbol"], found["matched"]) == (symbol, how)
    assert found["gene"] == name
    assert found["row"] == (TABLE["symbol"].tolist().index(symbol) if symbol else -1)


def test_missing_names_and_numbers_are_no_genes():
    table = pd.DataFrame({"symbol": ["SCN11A", "EGR1", "XK", np.nan]})
    table["aliases"] = ["NaN|HSAN7", "225|<NA>", "NA|None", "x"]
    names = [np.nan, None, pd.NA, pd.NaT, "nan", "NaN", "None", "<NA>", "NA", " ", 225, 225.0, "225", np.int64(3)]
    found = match_genes(names, table, species="human")
    assert (found["symbol"] == "").all() and (found["row"] == -1).all() and (found["matched"] == "unmatched").all()
    assert found["gene"].tolist()[:4] == [""] * 4
    # A table may have a gene that is written so; a missing value is not that gene.
    table = pd.DataFrame({"symbol": ["NA", "nan"]})
    assert match_genes(["NA", "nan", np.nan, None], table, "human")["row"].tolist() == [0, 1, -1, -1]
    assert match_genes(["na"], table, "human")["row"].tolist() == [-1]


@settings(max_examples=80, deadline=None)
@given(names=st.lists(st.one_of(st.sampled_from(TABLE["symbol"].tolist()), st.text(max_size=8)), max_size=4))
def test_any_names_are_matched_one_by_one_and_in_order(names):
    together = match_genes(names, TABLE, "human")
    assert together["gene"].tolist() == names
    # One by one are those that are found backwards, and without the rest.
    assert match_genes(names[::-1], TABLE, "human")["symbol"].tolist() == together["symbol"].tolist()[::-1]
    assert match_genes(names[:1], TABLE, "human")["symbol"].tolist() == together["symbol"].tolist()[:1]
    assert set(together["symbol"]) <= {*TABLE["symbol"], ""}


def test_order_of_rows_does_not_matter():
    shuffled = TABLE.sample(frac=1, random_state=0).reset_index(drop=True)
    names = ["Sst", "DIFF6", "1-Mar", "AES", "SEPT2", "TBCE.1"]
    pd.testing.assert_frame_equal(
        match_genes(names, TABLE, "human").drop(columns="row"),
        match_genes(names, shuffled, "human").drop(columns="row"),
    )


def test_species_rows_are_preferred():
    both = pd.concat([load_marker_descriptions("human"), load_marker_descriptions("mouse")], ignore_index=True)
    found = match_genes(["Sst", "Gad1", "Plp1"], both)
    assert set(both["species"].iloc[found["row"]]) == {"mouse"}
    assert found["matched"].tolist() == ["symbol"] * 3
    # Mouse names against a human table go by case.
    found = match_genes(["Sst"], load_marker_descriptions("human"), "mouse")
    assert found["matched"].tolist() == ["case"]


def test_repeated_symbol_takes_the_row_that_says_something():
    table = pd.DataFrame({"symbol": ["SST", "SST"], "summary": ["", "A hormone."]})
    assert match_genes(["SST", "sst"], table, "human")["row"].tolist() == [1, -1 + 2]


def test_table_without_symbols():
    with pytest.raises(ValueError, match="none called 'symbol'"):
        match_genes(["SST"], pd.DataFrame({"gene": ["SST"]}))


@pytest.mark.parametrize(
    ("names", "species"),
    [
        (["SST", "C9orf47", "MT-ND1", "HLA-A"], "human"),
        (["Sst", "mt-Nd1", "1110008F13Rik", "H2-K1"], "mouse"),
        (["ENSMUSG00000004366.5"], "mouse"),
        (["ENSG00000157005"], "human"),
        (["EGFP", "Sst", "Gad1", "ERCC-00002", "Plp1"], "mouse"),
        (["a", "1", ""], "human"),
        (["GRCh38_Sst", "GRCh38_Gad1", "mm10_Sst"], "human"),
        (["mm10___Sst", "mm10___Gad1"], "mouse"),
        (["Sst_ENSMUSG00000004366"], "mouse"),
        (["ENSG00000157005_SST", "Sst"], "human"),
        (["Sst|2ef1e7b", "Gad1|a"], "mouse"),
        ([np.nan, None, "nan", "12", "SST"], "human"),
    ],
)
def test_detect_species(names, species):
    assert detect_species(names) == species


def test_is_ensembl():
    assert is_ensembl("ENSG00000157005") and is_ensembl("ENSMUSG00000004366.5")
    assert not is_ensembl("ENSA") and not is_ensembl("ENSG0000015700")


def test_match_vectors_goes_through_aliases_on_either_side():
    names = np.array(["SMST", "MARCH1", "TBCE", "7SK"])
    genes = match_genes(["ENSG00000157005", "MARCHF1", "Tbce", "HLA-A", "7SK"], TABLE, "human")
    assert match_vectors(genes, names, TABLE, "human").tolist() == [0, 1, 2, -1, 3]


@pytest.fixture(scope="module")
def human():
    if not (get_data_home() / "gene_text" / "human.tsv.gz").exists():
        pytest.skip("no human gene descriptions in the data home")
    return fetch_gene_descriptions("human", download_if_missing=False)


def test_all_human_genes_at_once(human):
    names = human["symbol"].iloc[:40000]
    start = time.process_time()
    found = match_genes(names, human)
    assert time.process_time() - start < 10
    assert (found["symbol"].to_numpy() == names.to_numpy()).all()
    known = human[human["ensembl_id"] != ""].drop_duplicates("ensembl_id")
    found = match_genes(known["ensembl_id"] + ".7", human)
    assert (found["symbol"].to_numpy() == known["symbol"].to_numpy()).all()


def test_real_renamings(human):
    old = {"SEPT2": "SEPTIN2", "AES": "TLE5", "CTGF": "CCN2", "1-Dec": "DELEC1", "HLA.DRA": "HLA-DRA"}
    assert match_genes(list(old), human)["symbol"].tolist() == list(old.values())


def test_a_table_that_was_changed_in_place_is_read_anew():
    table = pd.DataFrame({"symbol": ["SST", "GAD1"], "aliases": ["SMST", ""]})
    assert match_genes(["SMST"], table)["symbol"].tolist() == ["SST"]
    table.loc[0, "aliases"] = ""
    table.loc[1, "aliases"] = "SMST"
    assert match_genes(["SMST"], table)["symbol"].tolist() == ["GAD1"]
