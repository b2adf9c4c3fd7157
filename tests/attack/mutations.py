"""Random damage to bytes, to parsed JSON and to arrays."""

import numpy as np

_NUMBERS = (0, 1, -1, 2**7, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63))


def pick(rng, options):
    """One of a sequence of whatever things."""
    return options[int(rng.integers(len(options)))]


def damaged(content, rng, other=b""):
    """Bytes after one to three accidents.

    Parameters
    ----------
    content : bytes
    rng : numpy.random.Generator
    other : bytes, default=b""
        Another file of the kind, parts of which may get into this one.
    """
    for _ in range(int(rng.integers(1, 4))):
        content = pick(rng, _ACCIDENTS)(bytearray(content), rng, other)
    return bytes(content)


def _at(content, rng):
    return int(rng.integers(len(content) + 1))


def _span(content, rng):
    start = _at(content, rng)
    return start, start + int(2 ** rng.uniform(0, 8))


def _flip(content, rng, other):
    for _ in range(int(rng.integers(1, 9))):
        if content:
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return content


def _noise(content, rng, other):
    start, stop = _span(content, rng)
    size = min(stop, len(content)) - start
    content[start : start + size] = rng.bytes(size)
    return content


def _truncate(content, rng, other):
    return content[: _at(content, rng)]


def _cut(content, rng, other):
    start, stop = _span(content, rng)
    return content[:start] + content[stop:]


def _double(content, rng, other):
    start, stop = _span(content, rng)
    return content[:stop] + content[start:]


def _zero(content, rng, other):
    start, stop = _span(content, rng)
    size = min(stop, len(content)) - start
    content[start : start + size] = bytes(size)
    return content


def _extreme(content, rng, other):
    start, size = _at(content, rng), pick(rng, (1, 2, 4, 8))
    number = pick(rng, _NUMBERS) % 256**size
    stop = min(start + size, len(content))
    content[start:stop] = number.to_bytes(size, pick(rng, ("little", "big")))[: stop - start]
    return content


def _append(content, rng, other):
    return content + rng.bytes(int(2 ** rng.uniform(0, 10)))


def _splice(content, rng, other):
    at = _at(content, rng)
    return content[:at] + other[at:] if rng.random() < 0.5 else other[:at] + content[at:]


_ACCIDENTS = (_flip, _flip, _flip, _noise, _truncate, _cut, _double, _zero, _extreme, _extreme, _append, _splice)

_LEAVES = (
    None,
    True,
    "",
    "0.5",
    0,
    -1,
    1.5,
    1e300,
    -0.0,
    10**30,
    [],
    {},
    [[]],
    [0.0],
    "../..",
    "own_code.Encoder",
    "a/b--own_code.Encoder",
    float("nan"),
    float("inf"),
)


def changed(value, rng):
    """JSON with one part of it exchanged, dropped, doubled, or put into another place."""
    paths = list(_paths(value))
    path = pick(rng, paths)
    part = _part(value, path)
    how = int(rng.integers(6))
    if how == 0 and path:
        return _with(value, path, None, drop=True)
    if how == 1:
        part = _part(value, pick(rng, paths))
    elif how == 2 and isinstance(part, list):
        part = part * 2
    elif how == 3 and isinstance(part, list) and len(part) > 1:
        part = [part[i] for i in rng.permutation(len(part))]
    elif how == 4 and type(part) in (int, float):
        part = part + pick(rng, (1, -1, 0.5, 1e-3, 1e30))
    else:
        part = pick(rng, _LEAVES)
    return _with(value, path, part)


def _paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from _paths(part, (*path, key))


def _part(value, path):
    for key in path:
        value = value[key]
    return value


def _with(value, path, part, drop=False):
    if not path:
        return part
    value = value.copy()
    if drop and len(path) == 1:
        del value[path[0]]
    else:
        value[path[0]] = _with(value[path[0]], path[1:], part, drop)
    return value


def altered(array, rng):
    """An array that is no longer what it was: entries, length, type or shape."""
    array = np.array(array)
    how = int(rng.integers(8))
    flat = array.reshape(-1)
    if how <= 2 and flat.size and flat.dtype.kind in "iuf":
        bounds = np.iinfo(flat.dtype) if flat.dtype.kind != "f" else np.finfo(flat.dtype)
        number = pick(rng, (*_NUMBERS, int(rng.integers(-3, 40))))
        flat[int(rng.integers(flat.size))] = np.clip(float(number), float(bounds.min), float(bounds.max) * 0.999)
        return array
    if how == 3:
        return array[: int(rng.integers(len(array) + 1))] if array.ndim else array
    if how == 4:
        return np.concatenate([flat, flat[: int(rng.integers(flat.size + 1))]])
    if how == 5:
        with np.errstate(all="ignore"):
            dtypes = ("i1", "u1", "i8", "u8", "f2", "f8", ">i4", ">f4", "S3", "?")
            return array.astype(pick(rng, dtypes) if array.dtype.kind in "iuf" else "S5")
    if how == 6:
        return pick(rng, (flat, flat[:, None], flat[None], flat[:0], np.zeros((0, 3)), np.array(1.0)))
    return rng.permutation(flat).reshape(array.shape)
