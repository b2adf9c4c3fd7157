"""No more threads than work is worth."""

import numpy as np
import pytest
from skorch.callbacks import Callback
from threadpoolctl import threadpool_info, threadpool_limits

from skst import SemSTClusterer, limits
from skst._threads import threads_worth
from skst.partition import ConsensusMixture, mixture
from skst.settings import GraphNetwork


def threads():
    return {library["filepath"]: library["num_threads"] for library in threadpool_info()}


@pytest.mark.parametrize("n_rows, most", [(1, 1), (2 * limits.ROWS_A_THREAD, 2), (100 * limits.ROWS_A_THREAD, 3)])
def test_threads_grow_with_the_rows_up_to_what_there_is(n_rows, most):
    with threadpool_limits(3):
        before = threads()
        with threads_worth(n_rows):
            inside = threads()
        assert threads() == before
    assert set(inside.values()) == {most}


def test_a_library_that_has_fewer_threads_keeps_them():
    with threadpool_limits(3), threadpool_limits({"openmp": 1}):
        before = threads()
        with threads_worth(100 * limits.ROWS_A_THREAD):
            assert threads() == before


def test_an_error_gives_threads_back():
    with threadpool_limits(2):
        before = threads()
        with pytest.raises(KeyError), threads_worth(1):
            raise KeyError
        assert threads() == before


class Watch(Callback):
    def __init__(self, seen):
        self.seen = seen

    def on_batch_end(self, net, **kwargs):
        import torch

        self.seen.append(torch.get_num_threads())


def test_a_network_of_few_spots_is_trained_by_one_thread():
    import torch

    rng, seen = np.random.default_rng(0), []
    network = GraphNetwork(max_epochs=2, callbacks=[Watch(seen)])
    model = SemSTClusterer(2, fusion=None, network=network, n_vote_neighbors=0)
    with threadpool_limits(2):
        model.fit(rng.poisson(2.0, (60, 12)).astype(np.float32), coordinates=rng.random((60, 2)))
        assert torch.get_num_threads() == 2
    assert set(seen) == {1}


def test_mixtures_of_few_rows_are_fitted_by_one_thread(monkeypatch):
    seen = []
    fit = mixture.fit_tied_mixture
    monkeypatch.setattr(mixture, "fit_tied_mixture", lambda *args: (seen.extend(threads().values()), fit(*args))[1])
    with threadpool_limits(2):
        ConsensusMixture(2, n_init=1, n_keep=1, random_state=0).fit(np.random.default_rng(0).random((50, 4)))
    assert set(seen) == {1}
