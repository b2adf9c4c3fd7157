"""Slices on a cluster: Dask workers read them, and one that dies in the middle changes nothing."""

import os
import signal

import joblib
import numpy as np
import pytest

from skst import SpaLLMFusion
from skst.datasets import make_spatial_domains

distributed = pytest.importorskip("distributed")
import dask  # noqa: E402
from distributed.utils import get_mp_context  # noqa: E402


class _Dies(distributed.WorkerPlugin):
    """Has the first worker that is told to do a second task die while it does it."""

    idempotent = True

    def __init__(self, note):
        self.note, self.n_begun = note, 0

    def transition(self, key, start, finish, **kwargs):
        self.n_begun += finish == "executing"
        if self.n_begun == 2 and not os.path.exists(self.note):
            with open(self.note, "x") as file:  # one alone can make it
                file.write(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def client():
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        # Workers, and that in the place of the dead one, are forked from a process that has loaded all.
        get_mp_context().set_forkserver_preload(["distributed", "anndata", "skst.spallm"])
        with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
            yield client


def test_workers_of_dask_find_the_same_domains_even_if_one_dies(client, tmp_path):
    paths = make_spatial_domains(600, n_genes=40, n_domains=4, n_slices=6, random_state=0, to=tmp_path)
    model = SpaLLMFusion(n_clusters=4, strategy="expression", clusterer="kmeans", random_state=0)
    expected = model.fit(paths).labels_
    workers = set(client.run(os.getpid).values())
    with joblib.parallel_config(backend="dask"):
        np.testing.assert_array_equal(model.fit(paths).labels_, expected)
        assert set(client.run(os.getpid).values()) == workers and os.getpid() not in workers
        client.register_plugin(_Dies(os.fspath(tmp_path / "note")))
        np.testing.assert_array_equal(model.fit(paths).labels_, expected)
    dead = int((tmp_path / "note").read_text())
    assert dead in workers
    with pytest.raises(ProcessLookupError):
        os.kill(dead, 0)
