"""What a pickle of a table of gene vectors may hold besides numbers and texts: lists of numbers and numeric arrays.

Not even numpy's own functions are handed to a pickle.  What it may ask for is stood in for by the objects here, which
check what they are given, and which it cannot look into or change.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from skst.files.untrusted import RefusedError

MAX_DIGITS = 400  # no number needs more


def unsafe(found: str) -> RefusedError:
    """The error that says what a table of gene vectors does not need."""
    return RefusedError(
        f"Gene vectors in a pickle hold {found}, and only a dict of str to lists of numbers or numeric arrays is "
        "read; convert the table to .npz or .parquet where you trust it."
    )


def kind_of(value: object) -> str:
    return f"a {type(value).__name__.strip('_').lower()}"


class List:
    """A list of numbers, floats in runs."""

    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[Any] = ()) -> None:
        self.entries: list[Any] = []
        self.extend(entries)

    def extend(self, entries: Iterable[Any]) -> None:
        for entry in entries:
            if type(entry) not in (float, int, np.ndarray):
                raise unsafe(f"a list of something else than numbers, {kind_of(entry)}")
        self.entries += entries

    def __len__(self) -> int:
        return sum(entry.size if isinstance(entry, np.ndarray) else 1 for entry in self.entries)

    def values(self) -> np.ndarray:
        if all(isinstance(entry, np.ndarray) for entry in self.entries):
            return np.concatenate(self.entries) if self.entries else np.empty(0)
        numbers: list[float] = []
        for entry in self.entries:
            numbers += entry.tolist() if isinstance(entry, np.ndarray) else [entry]
        return np.array(numbers, dtype=np.float64)


class Function:
    """What a pickle may call; it cannot be looked into or changed."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self.call = call


class Array:
    """Receives the state of a pickled array."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray | None = None) -> None:
        self.array = array

    def build(self, state: object) -> None:
        if self.array is not None or not isinstance(state, tuple) or len(state) != 5:
            raise unsafe("an array of an unknown form")
        _, shape, dtype, fortran, data = state
        self.array = _array(data, dtype, shape, "F" if fortran else "C")

    def __len__(self) -> int:
        return 0 if self.array is None else self.array.size

    def values(self) -> np.ndarray:
        if self.array is None:
            raise unsafe("an array of an unknown form")
        return self.array


class Dtype:
    """Receives a pickled numeric dtype."""

    __slots__ = ("dtype",)

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>=|]?(f[248]|[iu][1248]|b1)", code):
            raise unsafe("an array of something else than plain numbers")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        # (version, byte order, subdtype, names, fields, size, alignment, flags): only the byte order may say anything.
        plain = isinstance(state, tuple) and len(state) >= 8 and state[2:5] == (None, None, None)
        if not plain or state[1] not in ("<", ">", "|", "="):
            raise unsafe("an array of something else than plain numbers")
        self.dtype = self.dtype.newbyteorder(state[1])


def _array(data: object, dtype: object, shape: object, order: Any) -> np.ndarray:
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise unsafe("an array of something else than plain numbers")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise unsafe("an array of an unknown form")
    if math.prod(shape) * dtype.dtype.itemsize != len(data) or order not in ("C", "F"):
        raise unsafe("an array whose shape does not fit its content")
    return np.frombuffer(data, dtype=dtype.dtype).reshape(shape, order=order)


def _scalar(dtype: object, data: object) -> float:
    return float(_array(data, dtype, (), "C"))


def _buffer_array(data: object, dtype: object, shape: object, order: Any) -> Array:
    return Array(_array(data, dtype, shape, order))


def _maker(kind: type, *, takes_text: bool = False) -> Function:
    def make(*args: Any) -> object:
        is_text = takes_text and len(args) == 1 and isinstance(args[0], str) and len(args[0]) <= MAX_DIGITS
        if args and not is_text:
            raise unsafe(f"a call of {kind.__name__.lower()} with something in it")
        return kind(*args)

    return Function(make)


FUNCTIONS = {
    ("numpy", "ndarray"): Function(lambda *_: Array()),
    ("numpy", "dtype"): Function(Dtype),
    ("numpy._core.multiarray", "_reconstruct"): Function(lambda *_: Array()),
    ("numpy._core.multiarray", "scalar"): Function(_scalar),
    ("numpy._core.numeric", "_frombuffer"): Function(_buffer_array),
    ("builtins", "str"): _maker(str, takes_text=True),
    ("builtins", "float"): _maker(float, takes_text=True),
    ("builtins", "list"): _maker(List),
    ("builtins", "dict"): _maker(dict),
}
