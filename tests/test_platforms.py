"""The pages of the guide on platforms: their code, as it is printed, run on a tiny folder of the platform's format."""

import inspect
import re
import textwrap
import warnings
from pathlib import Path

import platforms
import pytest
from sklearn.metrics import adjusted_rand_score

PAGES = Path(__file__).parents[1] / "docs" / "guide" / "platforms"
NAMES = sorted(path.stem for path in PAGES.glob("*.rst") if path.stem != "index")


def code_of(page):
    """The code of a page, its blocks one after the other."""
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?: {4}.*\n|\n)+)", page.read_text("utf-8"), flags=re.MULTILINE)
    return "\n".join(textwrap.dedent(block) for block in blocks)


def test_each_page_has_a_folder():
    made = [name for name, maker in inspect.getmembers(platforms, inspect.isfunction) if name in NAMES]
    assert made == NAMES


@pytest.mark.filterwarnings("ignore")  # of readers
@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_a_page_finds_domains(name, tmp_path, monkeypatch):
    code = code_of(PAGES / f"{name}.rst")
    with warnings.catch_warnings(action="ignore"):
        for package in re.findall(r"^(?:from|import) (\w+)", code, flags=re.MULTILINE):
            pytest.importorskip(package)
    truth = getattr(platforms, name)(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(code, f"{name}.rst", "exec"), found)
    table = found["table"]
    names = table.obs["cell_id"] if "cell_id" in table.obs else table.obs_names  # some readers number the rows
    assert set(names) == set(truth.obs_names) and table.uns["domain"]["predicted"] is False
    least = 0.8 if name == "cosmx" else 0.6  # 0.7 is what is found of places within fields of view
    assert adjusted_rand_score(truth.obs["label"].loc[names], table.obs["domain"]) > least
