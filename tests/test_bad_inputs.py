"""Every row of the guide's page on bad inputs: the message comes, and its advice works."""

import re
import sys
from collections import Counter

import pytest
from bad_inputs import CASES, TOPICS
from bad_inputs.kit import Kit, is_one_sentence, of_skst, recorded
from bad_inputs.page import PATH, render

from skst.nn.cell_ensemble import CellEnsemble
from skst.nn.ensemble import NetworkEnsemble


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def _parameters():
    for topic in TOPICS:
        for number, case in enumerate(topic.CASES):
            for name in case.of:
                yield pytest.param(case, name, id=f"{topic.__name__.rpartition('.')[2]}{number}-{name}")


def _run(action, kit):
    with recorded() as caught:
        result = action(kit)
    return result, of_skst(caught)


def _refusal(case, kit):
    """What is said up to a refusal, which comes before any network is trained."""

    def train(*args, **kwargs):
        pytest.fail("a network was trained")

    kit.fitted()  # what a case may ask for
    if case.match.startswith("batch_key="):
        kit.fitted(batch_key="batch")
    with pytest.MonkeyPatch.context() as patch, recorded() as caught:
        for ensemble in (CellEnsemble, NetworkEnsemble):
            patch.setattr(ensemble, "fit", train)
        with pytest.raises(case.kind) as refusal:
            case.wrong(kit)
    return [*of_skst(caught), str(refusal.value)]


_ADVICE = Counter(case.right for case in CASES)
_FOLLOWED = {}


def _right(case, kit):
    """What following the advice comes to; where cases share it, the first of an estimator's is there for all."""
    if _ADVICE[case.right] == 1:
        return _run(case.right, kit)
    key = case.right, kit.name
    if key not in _FOLLOWED:
        _FOLLOWED[key] = _run(case.right, kit)
    return _FOLLOWED[key]


@pytest.mark.parametrize(("case", "name"), list(_parameters()))
def test_case(case, name, tmp_path, monkeypatch, bare_home):
    kit = Kit(name, tmp_path, monkeypatch)
    if case.says == "nothing":
        result, messages = _run(case.wrong, kit)
    else:
        said = _refusal(case, kit) if case.says == "error" else _run(case.wrong, kit)[1]
        said = [text for text in said if case.besides is None or not re.search(case.besides, text)]
        assert len(said) == case.parts, said
        for text in said:
            assert re.search(case.match, text), text
            if case.in_words_of_skst:
                is_one_sentence(text)
        result, messages = _right(case, kit)
    assert messages == []
    if case.check is not None:
        case.check(kit, result)


def test_the_guide_shows_the_table():
    assert PATH.read_text("utf-8") == render(), "run python -m tests.bad_inputs"


def test_rows_differ():
    assert len(CASES) >= 120
    for cells in ([case.situation for case in CASES], [(case.situation, case.does) for case in CASES]):
        assert len(set(cells)) == len(CASES)
    for case in CASES:
        assert case.says in ("error", "warning", "nothing")
        assert (case.right is None) == (case.says == "nothing") and (case.check is not None or case.right is not None)
        assert case.does.endswith(".") and case.do.endswith(".") and not case.situation.endswith(".")
