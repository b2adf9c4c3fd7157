"""Pickles of a table of gene vectors, read by a machine that knows the instructions of such tables and no other.

Python's own unpickler builds whatever a file says before anybody can look at it: lists within lists that take ages to
print, tuples too deep to hash, memories of a billion entries.  Here a dict has texts as keys and vectors as values, a
vector is a list of numbers or a numeric array, and whatever leads elsewhere ends the reading.  Nothing is imported.
"""

import codecs
import struct
from typing import Any

import numpy as np

from skst.files.pickled_values import FUNCTIONS, MAX_DIGITS, Array, Dtype, Function, List, kind_of, unsafe

# Lists of floats take some ten instructions a thousand numbers, arrays some thirty; lists of numpy scalars eight a
# number.
_MAX_INSTRUCTIONS = 10_000_000
_MAX_STACK = 100_000
_MAX_TUPLE = 64
_SOME_NUMBERS = 2**20

_STOP = ord(".")
_RUN = 1024
_FLOATS = np.dtype([("instruction", "u1"), ("number", ">f8")])


def read_plain_pickle(data: bytes) -> dict[str, np.ndarray]:
    """Read a pickled dict of gene name to vector.

    Parameters
    ----------
    data : bytes
        The pickle, of any protocol.

    Returns
    -------
    dict of str to ndarray
        Vectors as they are stored, not yet checked for their shapes.

    Raises
    ------
    ValueError
        If it holds anything else.
    Exception
        Of many kinds if it is cut off or damaged.

    Examples
    --------
    >>> import pickle
    >>> from skst.files.plain_pickle import read_plain_pickle
    >>> read_plain_pickle(pickle.dumps({"INS": [0.5, 1.0]}))
    {'INS': array([0.5, 1. ])}
    """
    content = _Machine(data).run()
    if not isinstance(content, dict):
        raise unsafe(f"{kind_of(content)} where a dict of gene name to vector was expected")
    # Two names can share a vector, and a small file can give a long vector a million names.
    left = max(len(data), _SOME_NUMBERS)
    for vector in content.values():
        left -= len(vector)
        if left < 0:
            raise unsafe("vectors under so many names that they are more than the file has bytes")
    return {name: vector.values() for name, vector in content.items()}


class _Machine:
    """The stack, the memory and the place in the pickle."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memory: list[Any] = []
        self.n_encoded = 0

    def run(self) -> object:
        data, stack, marks = self.data, self.stack, self.marks
        for _ in range(_MAX_INSTRUCTIONS):
            code = data[self.at]
            self.at += 1
            if code == _STOP:
                return self.pop()
            step = _STEPS[code]
            if step is None:
                raise unsafe(f"the instruction {bytes([code])!r}")
            step(self)
            if len(stack) + len(marks) > _MAX_STACK:
                raise unsafe(f"more than {_MAX_STACK} things that belong to nothing")
        raise unsafe(f"more than {_MAX_INSTRUCTIONS} instructions, which are many for such a table")

    def take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise EOFError("the pickle ends too early")
        return self.data[start : self.at]

    def take_counted(self, n_bytes: int) -> bytes:
        return self.take(int.from_bytes(self.take(n_bytes), "little"))

    def line(self) -> bytes:
        line = self.take(self.data.index(b"\n", self.at) - self.at)
        self.at += 1
        return line

    def number_line(self) -> bytes:
        line = self.line()
        if len(line) > MAX_DIGITS:
            raise unsafe(f"a number of {len(line)} digits")
        return line

    def push(self, value: object) -> None:
        self.stack.append(value)

    def push_byte(self) -> None:
        self.stack.append(self.data[self.at])
        self.at += 1

    def pop(self) -> Any:
        if self.marks and self.marks[-1] == len(self.stack):
            raise unsafe("entries of nothing")
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_marked(self) -> list[Any]:
        start = self.marks.pop()
        entries = self.stack[start:]
        del self.stack[start:]
        return entries

    def floats(self) -> None:
        at = self.at - 1
        if self.data[at + 9 : at + 10] != b"G":
            self.push(struct.unpack(">d", self.take(8))[0])
            return
        # Instructions of nine bytes in a row are columns of an array, a thousand times faster than one by one.
        runs, n_floats = [], _RUN
        while n_floats == _RUN:
            n_whole = min(_RUN, (len(self.data) - at) // 9)
            block = np.frombuffer(self.data, dtype=_FLOATS, count=n_whole, offset=at)
            others = np.flatnonzero(block["instruction"] != ord("G"))
            n_floats = int(others[0]) if len(others) else n_whole
            runs.append(block["number"][:n_floats].astype(np.float64))
            at += 9 * n_floats
        self.at = at
        self.push(np.concatenate(runs))

    def integer_line(self) -> None:
        line = self.number_line()
        self.push(line == b"01" if line in (b"00", b"01") else int(line, 0))

    def remember(self, index: int) -> None:
        value = self.top()
        if isinstance(value, np.ndarray):
            raise unsafe("a number that is used again")
        if not 0 <= index <= self.at:  # an instruction a byte, and each remembers one thing at most
            raise unsafe("a memory of more things than they have bytes")
        self.memory += [None] * (index + 1 - len(self.memory))
        self.memory[index] = value

    def recall(self, index: int) -> None:
        value = self.memory[index] if index >= 0 else None
        if value is None:
            raise unsafe("a thing that was not remembered")
        self.push(value)

    def append(self) -> None:
        value, target = self.pop(), self.top()
        if isinstance(value, np.ndarray) or not isinstance(target, List):
            raise unsafe(f"entries of {kind_of(target)}")
        target.extend([value])

    def append_all(self) -> None:
        entries, target = self.pop_marked(), self.top()
        if not isinstance(target, List):
            raise unsafe(f"entries of {kind_of(target)}")
        target.extend(entries)

    def set_items(self, target: object, entries: list[Any]) -> dict[str, List | Array]:
        if not isinstance(target, dict) or len(entries) % 2:
            raise unsafe(f"keys of {kind_of(target)}")
        for name, vector in zip(entries[::2], entries[1::2], strict=True):
            if type(name) is not str:
                raise unsafe(f"{kind_of(name)} as a gene name")
            if not isinstance(vector, List | Array):
                raise unsafe(f"{kind_of(vector)} as a vector, which is neither a list of numbers nor an array")
            target[name] = vector
        return target

    def make_tuple(self, entries: list[Any]) -> None:
        # A tuple of tuples is the most that an array needs, and it can be neither deep nor wide.
        nested = [entry for entry in entries if isinstance(entry, tuple)]
        plain = (str, int, bytes, type(None), tuple, Dtype, Function)
        if len(entries) > _MAX_TUPLE or not all(isinstance(entry, plain) for entry in entries):
            raise unsafe("a tuple that belongs to no array")
        if any(isinstance(part, tuple) for entry in nested for part in entry):
            raise unsafe("a tuple that belongs to no array")
        self.push(tuple(entries))

    def make_short_tuple(self, size: int) -> None:
        self.make_tuple([self.pop() for _ in range(size)][::-1])

    def find(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise unsafe("a function without a name")
        module = module.replace("numpy.core.", "numpy._core.").replace("__builtin__", "builtins")
        # How pickles of protocol 2 and below hold bytes.
        own = {("_codecs", "encode"): Function(self.encode_latin1)}
        function = FUNCTIONS.get((module, name)) or own.get((module, name))
        if function is None:
            raise unsafe(repr(f"{module}.{name}"[:80]))
        self.push(function)

    def encode_latin1(self, text: str, encoding: str) -> bytes:
        self.n_encoded += len(text)
        if encoding != "latin1" or self.n_encoded > len(self.data):
            raise unsafe("a text to encode in another way, or over and over")
        return text.encode("latin1")

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Function) or not isinstance(arguments, tuple):
            raise unsafe(f"a call of {kind_of(function)}")
        self.push(function.call(*arguments))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, Array | Dtype):
            raise unsafe(f"instructions that alter {kind_of(target)}")
        target.build(state)

    def find_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        self.find(module, name)


def _counted(n_bytes, convert):
    return lambda m: m.push(convert(m.take_counted(n_bytes)))


def _fixed(n_bytes, signed):
    return lambda m: m.push(int.from_bytes(m.take(n_bytes), "little", signed=signed))


def _unsigned(data):
    return int.from_bytes(data, "little")


def _utf8(data):
    return data.decode("utf-8")


def _ascii(data):
    return data.decode("ascii")


_INSTRUCTIONS = {
    b"\x80": lambda m: m.take(1),  # protocol
    b"\x95": lambda m: m.take(8),  # frame
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _Machine.integer_line,
    b"L": lambda m: m.push(int(m.number_line().removesuffix(b"L"), 0)),
    b"K": _Machine.push_byte,
    b"M": _fixed(2, False),
    b"J": _fixed(4, True),
    b"\x8a": _counted(1, lambda data: int.from_bytes(data, "little", signed=True)),
    b"F": lambda m: m.push(float(m.number_line())),
    b"G": _Machine.floats,
    b"X": _counted(4, _utf8),
    b"\x8c": _counted(1, _utf8),
    b"\x8d": _counted(8, _utf8),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"S": lambda m: m.push(_ascii(codecs.escape_decode(m.line()[1:-1])[0])),  # these three are texts of Python 2
    b"T": _counted(4, _ascii),
    b"U": _counted(1, _ascii),
    b"B": _counted(4, bytes),
    b"C": _counted(1, bytes),
    b"\x8e": _counted(8, bytes),
    b"\x96": _counted(8, bytes),
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"]": lambda m: m.push(List()),
    b"l": lambda m: m.push(List(m.pop_marked())),
    b"a": _Machine.append,
    b"e": _Machine.append_all,
    b"}": lambda m: m.push({}),
    b"d": lambda m: m.push(m.set_items({}, m.pop_marked())),
    b"s": lambda m: (entry := [m.pop(), m.pop()][::-1], m.set_items(m.top(), entry)),
    b"u": lambda m: (entries := m.pop_marked(), m.set_items(m.top(), entries)),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.make_tuple(m.pop_marked()),
    b"\x85": lambda m: m.make_short_tuple(1),
    b"\x86": lambda m: m.make_short_tuple(2),
    b"\x87": lambda m: m.make_short_tuple(3),
    b"p": lambda m: m.remember(int(m.number_line())),
    b"q": lambda m: m.remember(_unsigned(m.take(1))),
    b"r": lambda m: m.remember(_unsigned(m.take(4))),
    b"\x94": lambda m: m.remember(len(m.memory)),
    b"g": lambda m: m.recall(int(m.number_line())),
    b"h": lambda m: m.recall(_unsigned(m.take(1))),
    b"j": lambda m: m.recall(_unsigned(m.take(4))),
    b"c": lambda m: m.find(_utf8(m.line()), _utf8(m.line())),
    b"\x93": _Machine.find_on_stack,
    b"R": _Machine.call,
    b"b": _Machine.build,
}
_STEPS = [_INSTRUCTIONS.get(bytes([code])) for code in range(256)]
