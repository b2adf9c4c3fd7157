"""Embeddings that text modulates once they are finished."""

import numpy as np
import pandas as pd

from skst.embedding.semantic import SemanticHead
from skst.inputs.reading import names_told


class Modulated:
    """Methods of an estimator with the parameter ``semantic``, whose embedding is of ``encoder_`` and ``_pca``."""

    def _inputs(self, spots, average, scores):
        """What the network reads of spots."""
        return scores if self.encoder_.n_inputs else self._pca.expression(spots.X, average)

    def _fit_modulation(self, X, spots, average, embedding, rng):
        self._head = self.semantic_ = self.modulation_ = self.history_ = None
        if self.encoder_ is not None:
            self.history_ = self.encoder_.history_.assign(part="encoder")
        if self.semantic is None:
            return embedding
        encoder_seed, head_seed = (int(seed) for seed in rng.randint(np.iinfo(np.int32).max, size=2))
        encoder = self._handed_on(self.semantic, encoder_seed)
        with names_told():
            text = encoder.fit_transform(X)
        text = self._spread_text(text, average)
        if not np.ptp(text, axis=0).any():
            return embedding  # no gene names: the encoder has warned
        head = SemanticHead(random_state=head_seed)
        head.fit(embedding, text, spots.X, average, points=spots.coordinates, batch=spots.batch)
        self._head, self.semantic_ = head, encoder
        self.modulation_ = head.modulation_
        self.history_ = pd.concat([self.history_, head.history_.assign(part="modulation")], ignore_index=True)
        return head.embedding_

    def _spread_text(self, vectors, average):
        return self._pca.spread(np.asarray(vectors, dtype=np.float32), average)
