"""Encoders of text that are quick, remember what they were asked, or are cached as models are."""

import numpy as np

from skst.text import GeneTextEncoder, LexicalBackend

MODES = ("aggregate", "sentence", "prompt", "dual")
WEIGHTINGS = ("contrast", "abundance")


class KeptBackend(LexicalBackend):
    key = "kept 1"  # so that its vectors are cached, as those of a model are


class LetterBackend:
    """Counts of a few letters; remembers what it was asked, and has no key, so nothing is cached."""

    name = "letters"

    def __init__(self):
        self.asked = []

    def encode(self, texts):
        self.asked.extend(texts)
        return np.array([[text.count(letter) for letter in "aeiouST"] for text in texts], dtype=float) + 0.1


def lexical_encoder(genes, **parameters):
    return GeneTextEncoder().set_params(**({"model": "lexical", "gene_names": genes, "random_state": 0} | parameters))
