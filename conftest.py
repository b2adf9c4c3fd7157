"""What holds for all tests, those in docstrings among them."""

import gc
from itertools import count

import pytest

_NUMBERS = count()


def pytest_collection_finish():
    """Have garbage looked for seldom, and only among what tests make: what was imported and collected stays."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


@pytest.fixture
def nowhere(tmp_path_factory):
    """A path that nothing has ever been at; ``tmp_path`` makes a folder, which takes longer than many tests."""
    return tmp_path_factory.getbasetemp() / "nowhere" / str(next(_NUMBERS))


@pytest.fixture(autouse=True)
def _own_cache(nowhere, monkeypatch):
    monkeypatch.setenv("SKST_CACHE_HOME", str(nowhere / "cache"))


@pytest.fixture(autouse=True)
def _docstrings_need_no_data(request, nowhere, monkeypatch):
    """Have genes described by the package, as where nothing was downloaded: large tables take seconds to read."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.setenv("SKST_DATA_HOME", str(nowhere / "empty"))
