"""Damage, hostility, kills and full disks: nothing lost, nothing wrong, no crash; and the attacks would tell."""

import re
import time
from functools import partial
from itertools import takewhile

import numpy as np
import pytest
from attack import KINDS, arena, cached, hdf5, matrices, tables
from attack.verdict import CRASHED, FAILURES, HELD, LOST, REFUSED, WRONG, Failure, Tally, judged, require

from skst.files import hdf5 as _hdf5
from skst.files import plain_pickle
from skst.files import untrusted as _untrusted
from skst.text import cache as cache_module
from skst.text.cache import VectorCache

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="attacks run in forked processes"),
]


@pytest.mark.parametrize("name", KINDS)
def test_nothing_goes_through(name):
    kind = KINDS[name]
    tally = arena.run(kind, 0, numbers=range(kind.rounds))
    assert not tally.failures, f"python -m tests.attack --kind {name!r} --seed 0 --number {tally.failures[0][1]}"
    assert tally.count(name, HELD) > 0
    assert tally.count(name, REFUSED) > 0 or not kind.can_refuse


def _found_out(kind, *outcomes, n=60):
    """Whether one of `n` attacks comes to one of the outcomes; it is the last that is tried."""
    tally = Tally()
    count = partial(tally.count, kind.name)
    arena.run(kind, 0, numbers=takewhile(lambda _: not any(map(count, outcomes)), range(n)), tally=tally)
    return any(map(count, outcomes))


# Without a check of skst, the attacks that it is there for go through and are counted.


def test_a_cache_that_believes_every_shard_is_found_out(monkeypatch):
    monkeypatch.setattr(VectorCache, "_mark", lambda self, archive, shape: self._key_digest + bytes(32))
    monkeypatch.setattr(cache_module.hashlib, "sha256", _one_digest(cache_module.hashlib.sha256))
    assert _found_out(cached.KINDS[0], WRONG, n=150)


def _one_digest(sha256):
    """A digest that is the same for all keys of models, which have no blank in them as texts do."""
    return lambda content=b"": sha256(content if b" " in content else b"")


def test_a_cache_that_deletes_too_much_is_found_out(monkeypatch):
    sweep = VectorCache._sweep

    def sweep_all(self):
        for path in sorted(self.path.glob("*.npz"))[1:]:
            path.unlink()
        return sweep(self)

    monkeypatch.setattr(VectorCache, "_sweep", sweep_all)
    assert _found_out(arena.Kind("lossy", partial(_store_twice)), LOST)


def _store_twice(rng, folder, given):
    for start in (0, 3):
        texts = [f"gene {i}" for i in range(start, start + 3)]
        VectorCache("m", folder).store(texts, cached.vectors_of(texts))
    found = VectorCache("m", folder).lookup([f"gene {i}" for i in range(6)])[1]
    require(found.all(), "stored texts are gone", LOST)
    return HELD


def test_matrices_that_nobody_checks_are_found_out(monkeypatch):
    monkeypatch.setattr("skst.inputs.matrix.check_sparse", lambda matrix, name: None)
    assert _found_out(matrices.KINDS[0], WRONG, CRASHED)


def test_hdf5_that_nobody_looks_through_is_found_out(monkeypatch):
    monkeypatch.setattr(_hdf5._Tree, "check", lambda self: None)
    monkeypatch.setattr("skst.datasets._tenx.checked_csr", _believing)
    assert _found_out(hdf5.KINDS[1], WRONG, CRASHED, n=25)


def _believing(data, indices, indptr, shape, name):
    return _untrusted.sparse.csr_matrix((data, indices, indptr), shape=shape)


def test_pickles_that_are_run_are_found_out(monkeypatch):
    import pickle

    monkeypatch.setattr("skst.genes.table.read_plain_pickle", pickle.loads)
    tally = arena.run(tables.KINDS[2], 0, numbers=range(100))
    assert any(words == "a pickle was run" for _, _, _, words in tally.failures)
    assert plain_pickle.read_plain_pickle(pickle.dumps({"A": [1.0]}))["A"] == [1]


# The arena itself


def _endless(rng, folder, given):
    while True:
        pass


def _greedy(rng, folder, given):
    np.ones(2**30)
    return HELD


def _deadly(rng, folder, given):
    import ctypes

    ctypes.string_at(0)


def _unclear(rng, folder, given):
    raise KeyError("x")


def _sleeping(rng, folder, given):
    time.sleep(60)


@pytest.mark.parametrize(
    ("attempt", "outcome", "words"),
    [
        (_endless, CRASHED, "SIGXCPU|no end after"),  # on a busy machine the clock runs out first
        (_greedy, CRASHED, "memory over the limit"),
        (_deadly, CRASHED, "SIGSEGV"),
        (_sleeping, CRASHED, "no end after 3 s"),
        (_unclear, WRONG, "undocumented kind"),
    ],
)
def test_what_the_arena_sees(attempt, outcome, words):
    n = 2 if attempt is _deadly else 1  # the second in a new child
    tally = arena.run(arena.Kind("it", attempt, seconds=1), 0, numbers=range(n))
    assert tally.count("it", outcome) == len(tally.failures) == n
    assert all(re.search(words, failure[3]) for failure in tally.failures)


def _note(rng, folder, given):
    return HELD if rng.random() < 0.5 else REFUSED


def test_a_number_repeats_its_attack():
    kind = arena.Kind("it", _note)
    alone = [arena.run(kind, 0, numbers=[i]).count("it", HELD) for i in range(20)]
    assert sum(alone) == arena.run(kind, 0, numbers=range(20)).count("it", HELD)
    assert 0 < sum(alone) < 20


def test_what_is_a_clear_refusal():
    def refuse(words, kind=ValueError):
        _untrusted.check_sparse(*words) if isinstance(words, tuple) else (_ for _ in ()).throw(kind(words))

    matrix = _untrusted.sparse.csr_matrix(np.eye(3))
    matrix.indices[0] = 9
    assert judged(refuse, (matrix, "X")) == (REFUSED, "")
    assert judged(refuse, (matrix, "X. Then"))[0] == WRONG  # two sentences
    assert judged(refuse, "X is bad; mend it.")[0] == WRONG  # not raised by skst
    for outcome in FAILURES:
        assert judged(lambda outcome=outcome: require(False, "seen", outcome)) == (outcome, "seen")
    with pytest.raises(Failure):
        require(False, "seen")


def test_the_table_shows_all_counts():
    tally = Tally()
    for outcome in (HELD, HELD, REFUSED, LOST):
        tally.add("kind of attack", 7, outcome, "words")
    assert tally.table().splitlines()[1].split()[3:] == ["4", "1", "2", "1", "0", "0"]
    assert tally.failures == [("kind of attack", 7, LOST, "words")]
