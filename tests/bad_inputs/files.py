"""Files of descriptions and vectors."""

import numpy as np

from skst.genes import load_marker_descriptions
from skst.genes.table import read_gene_vectors

from .cases import error, works

TITLE = "Files"
_VECTORS = {"of": ("text",)}


def _written(kit, name, content):
    path = kit.tmp_path / name
    path.write_bytes(content)
    return path


def _npz(kit, **arrays):
    path = kit.tmp_path / "vectors.npz"
    genes = np.array(kit.tissue().var_names, dtype=str)
    np.savez(path, **({"genes": genes, "vectors": np.random.default_rng(0).normal(size=(60, 8))} | arrays))
    return path


def _fit(kit, path):
    return kit.make(vectors=path).fit(kit.tissue())


def _right(kit):
    return _fit(kit, _npz(kit))


def _all_known(kit, fitted):
    assert fitted.coverage_ == 1


def _table(kit):
    path = kit.tmp_path / "genes.tsv"
    load_marker_descriptions("human").to_csv(path, sep="\t", index=False)
    return path


CASES = [
    error(
        "The file of vectors does not exist",
        "Gene vectors '.*absent.npz' are not a file; check the path",
        "shows the path.",
        "Check the path.",
        lambda kit: _fit(kit, kit.tmp_path / "absent.npz"),
        _right,
        _all_known,
        kind=FileNotFoundError,
        **_VECTORS,
    ),
    error(
        "The file of vectors has an extension that is not known",
        r"Gene vectors '.*vectors.xlsx' have an unknown extension; use .parquet, .npz, .csv, .tsv, .h5ad or .pickle",
        "lists the formats.",
        "Write it in one of them.",
        lambda kit: _fit(kit, _written(kit, "vectors.xlsx", b"")),
        _right,
        _all_known,
        **_VECTORS,
    ),
    error(
        "The file of vectors was cut off",
        "Gene vectors '.*cut.npz' cannot be read as .npz .*; see read_gene_vectors for what the file must hold",
        "shows the path and what its reader says.",
        "Fetch or write it again.",
        lambda kit: _fit(kit, _written(kit, "cut.npz", _npz(kit).read_bytes()[:400])),
        _right,
        _all_known,
        **_VECTORS,
    ),
    error(
        "The file of vectors is empty",
        "Gene vectors '.*empty.csv' .*",
        "shows the path.",
        "Fetch or write it again.",
        lambda kit: _fit(kit, _written(kit, "empty.csv", b"")),
        _right,
        _all_known,
        **_VECTORS,
    ),
    error(
        'The arrays of a .npz have other names than "genes" and "vectors"',
        "Gene vectors '.*other.npz' cannot be read as .npz .*; see read_gene_vectors",
        "shows the name that is lacking.",
        "``numpy.savez(path, genes=genes, vectors=vectors)``.",
        lambda kit: _fit(kit, _other_names(kit)),
        _right,
        _all_known,
        **_VECTORS,
    ),
    works(
        "A table of vectors has a header, or none",
        "the first line is told from a gene.",
        "Nothing.",
        lambda kit: [
            read_gene_vectors(_written(kit, "with.csv", b"gene,0,1\nSST,1,2\n"))[0].tolist(),
            read_gene_vectors(_written(kit, "without.csv", b"SST,1.5,2\n"))[0].tolist(),
        ],
        lambda kit, names: _equal(names, [["SST"], ["SST"]]),
    ),
]


def _other_names(kit):
    path = kit.tmp_path / "other.npz"
    np.savez(path, names=np.array(["SST"]), matrix=np.ones((1, 2)))
    return path


def _equal(found, expected):
    assert found == expected
