"""Texts and vectors to be cached, for the tests of the cache."""

import zlib

import numpy as np


def vectors_of(texts, d=8):
    """A vector that only its text decides."""
    return np.stack([np.random.default_rng(zlib.crc32(text.encode())).random(d) for text in texts]).astype("f4")


def some_texts(start, stop):
    return [f"gene {i}" for i in range(start, stop)]


def shards_of(cache):
    return sorted(cache.path.glob("*.npz"))
