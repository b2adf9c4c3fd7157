"""Fixtures that several test modules share."""

import socket

import numpy as np
import pytest

from skst.datasets import make_spatial_domains

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch):
    """Fail a test that reaches for the network; servers of its own are fine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in _LOOPBACK:
            pytest.fail(f"a test connects to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def bare_home(tmp_path, monkeypatch):
    """A data home with nothing in it: genes are described by the marker table of the package."""
    monkeypatch.setenv("SKST_DATA_HOME", str(tmp_path / "empty"))


@pytest.fixture(scope="session")
def _tissue():
    return make_spatial_domains(400, n_genes=120, n_domains=4, random_state=0)


@pytest.fixture
def tissue(_tissue, bare_home):
    """One slice of 400 spots in 4 layers, 120 genes; deep enough to be easy."""
    return _tissue.copy()


@pytest.fixture(scope="session")
def _slices():
    return make_spatial_domains(450, n_genes=90, n_domains=3, n_slices=3, depth=900, random_state=0)


@pytest.fixture
def slices(_slices, bare_home):
    """Three slices of 150 spots in 3 layers, 90 genes, named in ``obs["batch"]``; rows in random order."""
    return _slices[np.random.default_rng(0).permutation(_slices.n_obs)].copy()
