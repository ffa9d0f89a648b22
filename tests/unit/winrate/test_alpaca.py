"""AlpacaEval's numbers from its published verdicts, and its files."""

import json
from pathlib import Path

import pytest

from jpo_dist.winrate import alpaca
from tests.support.shared import shared

MODELS = ("alpaca-7b", "claude-2.1")


@pytest.mark.parametrize("model", MODELS)
def test_the_leaderboards_win_rate_and_standard_error_to_four_decimals(model: str, tmp_path: Path) -> None:
    published = json.loads(shared(f"alpaca_eval/{model}.json").read_text())
    rows = [{"preference": preference} for preference, _, _ in published["verdicts"]]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    found = alpaca.summary(alpaca.read_annotations(tmp_path / "annotations.json"))
    assert found["win_rate"] == pytest.approx(published["win_rate"], abs=5e-5)
    assert found["standard_error"] == pytest.approx(published["standard_error"], abs=5e-5)
    assert (found["judged"], found["is_original_set"]) == (805, True)
    assert found["wins"] + found["ties"] + found["losses"] + found["not_parsed"] == found["annotations"]


def test_ties_of_both_spellings_and_what_was_not_parsed(tmp_path: Path) -> None:
    rows = [{"preference": value} for value in (2, 1.5, 0, 1, None, float("nan"))]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = alpaca.summary(alpaca.read_annotations(tmp_path / "a.json"))
    assert (found["wins"], found["ties"], found["losses"], found["not_parsed"], found["judged"]) == (1, 2, 1, 2, 4)
    assert found["win_rate"] == 50
    assert found["is_original_set"] is False, "its length-controlled figure means nothing then"
    assert found["standard_error"] == pytest.approx(100 * (0.5 / 3) ** 0.5 / 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"preference": 3}]', "entry 1: preference 3 is not in"),
        ('[{"preference": true}]', "entry 1: preference True"),
        ('[{"preference": 1}, {}]', "entry 2: no preference"),
        ("[]", "no JSON list with annotations"),
        ("{", "no JSON list with annotations"),
    ],
)
def test_a_file_that_is_none_of_its_annotations(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=said):
        alpaca.read_annotations(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match=r"alpaca\.annotations"):
        alpaca.read_annotations(tmp_path / "none.json")


def test_outputs_have_its_keys_and_one_line_an_instruction(tmp_path: Path) -> None:
    rows = alpaca.outputs([("i", "first"), ("j", "é"), ("i", "second")], "mine")
    alpaca.write_outputs(rows, tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_text()) == [
        {"instruction": "i", "output": "first", "generator": "mine"},
        {"instruction": "j", "output": "é", "generator": "mine"},
    ]
