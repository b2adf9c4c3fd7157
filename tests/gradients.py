"""Losses in float64 and their gradients, compared."""

import numpy as np
import torch


def double_tensor(values, grad=True):
    return torch.tensor(np.asarray(values, dtype=np.float64), requires_grad=grad)


def grads_of(loss, *inputs):
    return torch.autograd.grad(loss, [t for t in inputs if t is not None], retain_graph=True)


def assert_same(loss, expected, *inputs, atol=1e-9):
    torch.testing.assert_close(loss, expected, rtol=1e-7, atol=atol)
    for ours, theirs in zip(grads_of(loss, *inputs), grads_of(expected, *inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=atol)
