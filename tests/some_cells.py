"""Cells of three groups, as networks read them."""

import numpy as np
from scipy import sparse

from skst.nn import NormalizedCut

LOSS_WEIGHTS = {"cut_weight": 0.7, "mse_weight": 0.5, "hinge_weight": 0.2, "temperature": 0.5, "n_contrast": None}


def cell_inputs(n=60, n_inputs=6, seed=0):
    """Three groups of cells on axes of falling variance."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, n_inputs)) / np.arange(1, n_inputs + 1)
    values[:, :2] += 3 * np.eye(3)[np.arange(n) % 3, :2]
    return (values - values.mean(axis=0)).astype(np.float32)


def cell_semantic(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return (cell_inputs(n)[:, :3] @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(n, 4))).astype(np.float32)


def cell_cut(n=60, **options):
    """Affinities that follow the inputs."""
    rng = np.random.default_rng(1)
    X = np.exp(cell_inputs(n) @ rng.normal(size=(6, 9)) / 3)
    return NormalizedCut(sparse.csr_array(X * (rng.random(X.shape) < 0.7)), deflate=True, **options)


def cell_groups(embedding):
    return np.arange(len(embedding)) % 3
