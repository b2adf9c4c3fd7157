"""What holds for all tests, those in docstrings among them."""

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKST_CACHE_HOME", str(tmp_path))


@pytest.fixture(autouse=True)
def _docstrings_need_no_data(request, tmp_path, monkeypatch):
    """Have genes described by the package, as where nothing was downloaded: large tables take seconds to read."""
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.setenv("SKST_DATA_HOME", str(tmp_path / "empty"))
