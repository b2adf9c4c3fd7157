"""Count matrices of 10x Genomics: what does not fit together, leads elsewhere or never ends is refused."""

import gzip
import io
import tarfile

import h5py
import numpy as np
import pytest

from skst.datasets import _tenx
from skst.files import untrusted as _untrusted


def _refused(read, path, match):
    with pytest.raises(ValueError, match=match) as error:
        read(path)
    message = str(error.value)
    assert str(path) in message and message.endswith(".") and ". " not in message and "\n" not in message


def _parts():
    parts = {"data": [1, 2, 3], "indices": [0, 1, 2], "indptr": [0, 1, 2, 3], "shape": [4, 3]}
    texts = {"barcodes": ["A", "B", "C"], "features/id": ["1", "2", "3", "4"], "features/name": ["a", "b", "c", "d"]}
    return {**parts, **texts}


@pytest.mark.parametrize(
    ("part", "values", "match"),
    [
        ("indices", [0, 2_000_000_000, 2], "from 0 to 2000000000 where there are 4"),
        ("indices", [0, 4, 2], "from 0 to 4 where there are 4"),
        ("indices", [0, -5, 2], "from -5 to 2"),
        ("indices", [0, 2**40, 2], "from 0 to 1099511627776"),
        ("indices", [0.0, 1.0, 2.0], "no array of integers"),
        ("indices", [0, 1], "3 values for 2 indices"),
        ("indices", [[0, 1, 2]], "a list in 'matrix/indices'"),
        ("data", [1, 2], "2 values for 3 indices"),
        ("data", ["x", "y", "z"], "numbers in 'matrix/data'"),
        ("indptr", [0, 2, 1, 3], "does not rise"),
        ("indptr", [0, 1, 2, 9], "ends at 9"),
        ("indptr", [0, 1, 2, 2], "ends at 2 where 3 values"),  # of which one would be lost
        ("indptr", [0, 1, 3], "3 entries where 4 are due"),
        ("indptr", [], "its indptr"),
        ("shape", [4, 5], "6 are due"),
        ("shape", [2, 3], "from 0 to 2 where there are 2"),
        ("shape", [2**62, 3], "4611686018427387904 entries in 'matrix/features/name'"),
        ("shape", [-4, 3], "two sizes"),
        ("shape", [4.0, 3.0], "two sizes"),
        ("shape", [4], "2 entries"),
        ("barcodes", ["A", "B"], "3 entries in 'matrix/barcodes'"),
        ("barcodes", [1, 2, 3], "texts in 'matrix/barcodes'"),
        ("features/name", ["a", "b"], "4 entries in 'matrix/features/name'"),
        ("features/id", ["a", "b", "c", "d", "e"], "4 entries in 'matrix/features/id'"),
        ("features/feature_type", ["Gene Expression"], "4 entries in 'matrix/features/feature_type'"),
        ("features/feature_type", [1, 2, 3, 4], "texts in 'matrix/features/feature_type'"),
        ("features/name", None, "lacks the dataset 'matrix/features/name'"),
        ("indices", None, "lacks the dataset 'matrix/indices'"),
        ("features/name/nested", ["a"], "lacks the dataset 'matrix/features/name'"),
    ],
)
def test_damaged_10x_matrices_are_refused(part, values, match, tmp_path):
    path, parts = tmp_path / "m.h5", _parts()
    parts.pop(part.removesuffix("/nested"), None)
    if values is not None:
        parts[part] = values
    with h5py.File(path, "w") as file:
        for key, value in parts.items():
            file[f"matrix/{key}"] = value
    _refused(_tenx.read_10x_h5, path, match)


def test_10x_matrices_show_no_other_file(tmp_path):
    path, secret = tmp_path / "m.h5", tmp_path / "id_rsa"
    secret.write_text("PRIVATE KEY " * 9)
    with h5py.File(path, "w") as file:
        for key, value in _parts().items():
            file[f"matrix/{key}"] = value
        del file["matrix/features/name"]
        file.create_dataset("matrix/features/name", shape=(4,), dtype="S20", external=[(str(secret), 0, 80)])
    _refused(_tenx.read_10x_h5, path, "'/matrix/features/name' has its data in another place")
    path.write_bytes(b"nothing")
    _refused(_tenx.read_10x_h5, path, "cannot be read .*replace it with the published file")


MTX = "%%MatrixMarket matrix coordinate integer general\n%\n3 2 2\n1 2 5\n3 1 4\n"
MEMBERS = {"matrix.mtx": MTX, "genes.tsv": "1\ta\n2\tb\n3\tc\n", "barcodes.tsv": "A\nB\n"}


def _tar(path, members, mode="w:gz", change=None):
    with tarfile.open(path, mode) as archive:
        for name, text in members:
            info = tarfile.TarInfo(name)
            info.size = len(text)
            if change is not None:
                change(info)
            archive.addfile(info, io.BytesIO(text.encode()))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_archives_are_read_whatever_their_folders(mode, tmp_path):
    path = tmp_path / "m.tar"
    _tar(path, [(f"/../../etc/{name}", text) for name, text in MEMBERS.items()], mode)
    X, barcodes, symbols, ids = _tenx.read_10x_tar(path)
    assert X.toarray().tolist() == [[0, 0, 4], [5, 0, 0]] and X.dtype == np.float32
    assert (barcodes.tolist(), symbols.tolist(), ids.tolist()) == (["A", "B"], ["a", "b", "c"], ["1", "2", "3"])
    assert [file.name for file in tmp_path.iterdir()] == ["m.tar"]


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("matrix.mtx", MTX.replace("3 1 4", "4 1 4"), "index 3 exceeds"),
        ("matrix.mtx", MTX.replace("3 1 4", "0 1 4"), "negative"),
        ("matrix.mtx", MTX.replace("3 1 4", "99999999999999999999 1 4"), "cannot be read"),
        ("matrix.mtx", MTX.replace("3 2 2", "3 2 99999999999"), "99999999999 entries"),
        ("matrix.mtx", MTX.replace("3 2 2", "3 2 1"), "1 entries"),
        ("matrix.mtx", MTX.replace("3 2 2", "99999999999 2 2"), "3 genes and 2 spots"),
        ("matrix.mtx", MTX.replace("3 2 2", "3 -2 2"), "3 genes and 2 spots"),
        ("matrix.mtx", MTX.replace("3 1 4", "3 1 \0"), "zero bytes"),
        ("matrix.mtx", MTX.replace("3 1 4", "3 1"), "2 entries"),
        ("matrix.mtx", MTX.replace("coordinate", "array"), "counts in coordinates"),
        ("matrix.mtx", "", "counts in coordinates"),
        ("genes.tsv", "a\nb\nc\n", "cannot be read"),
        ("genes.tsv", "1\ta" + "\t" * 5_000_000 + "\n", "a line of more than"),
        ("barcodes.tsv", "A\n", "3 genes and 1 spots"),
        ("matrix.mtx", None, "lacks the member 'matrix.mtx'"),
    ],
)
def test_damaged_tar_archives_are_refused(name, text, match, tmp_path):
    path = tmp_path / "m.tar.gz"
    members = {key: value for key, value in {**MEMBERS, name: text}.items() if value is not None}
    _tar(path, members.items())
    _refused(_tenx.read_10x_tar, path, match)


def test_tar_archives_have_an_end(tmp_path, monkeypatch):
    path, read = tmp_path / "m.tar.gz", _tenx.read_10x_tar
    _tar(path, [*MEMBERS.items(), *MEMBERS.items()])
    _refused(read, path, "lacks one whole member")
    _tar(path, [(f"f{i}", "") for i in range(10_001)])
    _refused(read, path, "not too many")
    for header in (b"\xff" * 10 + b"\xfc\x00", b"77777777777\0"):  # back by two blocks, and eight gigabytes on
        _tar(path, MEMBERS.items(), "w")
        content = bytearray(path.read_bytes())
        content[124:136], content[148:156] = header, b" " * 8
        content[148:156] = b"%06o\0 " % sum(content[:512])
        path.write_bytes(content)
        _refused(read, path, "lacks one whole member")
    _tar(path, MEMBERS.items(), change=lambda info: setattr(info, "type", tarfile.SYMTYPE))
    _refused(read, path, "lacks the member")
    monkeypatch.setattr(_untrusted, "_ANY_FILE_BYTES", 2**20)
    _tar(path, [("large", "\0" * 2**22), *MEMBERS.items()])
    _refused(read, path, "unfolds to more than")
    with tarfile.open(path, "w") as archive:
        info, content = tarfile.TarInfo("matrix.mtx.gz"), gzip.compress(b"1" * 2**23)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    _refused(read, path, "unfolds to more than")
