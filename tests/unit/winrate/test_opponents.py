"""Who meets whom: gold responses of several layouts, answers of several temperatures, and what has no opponent."""

import json
from pathlib import Path

import pytest

from jpo_dist.data.read_report import BadRowError
from jpo_dist.winrate.opponents import GOLD, Side, answers_side, gold_side, match, read_side
from tests.support.answer_folders import answer, write_answers, write_gold
from tests.support.shared import shared

PAIRS = [("Name a fruit.", "A pear."), ("Name a tool.", "A saw."), ("Name a sea.", "The Baltic.")]


def gold_texts(side: Side) -> dict[str, str]:
    return {found[0].item.instruction[0].content: found[0].item.response for found in side.texts[GOLD].values()}


@pytest.mark.parametrize("column", ["gold_response", "output", "response", "completion"])
def test_gold_responses_under_the_usual_names(tmp_path: Path, column: str) -> None:
    side = read_side(write_gold(tmp_path / "gold.jsonl", PAIRS, column, generator="x"), "error")
    assert gold_texts(side) == dict(PAIRS)
    assert (side.more, side.num_texts, len(side.digest or "")) == (0, 3, 32)


def test_alpacas_reference_outputs_are_gold(tmp_path: Path) -> None:
    rows = [{"instruction": i, "output": o, "generator": "g", "dataset": "d"} for i, o in PAIRS]
    (tmp_path / "reference_outputs.json").write_text(json.dumps(rows))
    assert gold_texts(gold_side(str(tmp_path / "reference_outputs.json"), "error")) == dict(PAIRS)


def test_winners_and_best_responses_are_gold_and_others_are_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "i", "chosen": "good", "rejected": "bad"}, {"prompt": "i", "chosen": "fine", "rejected": "bad"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    side = gold_side(str(tmp_path / "pairs.jsonl"), "error")
    assert (gold_texts(side), side.more, side.no_gold) == ({"i": "good"}, 1, {"loser of a comparison": 1})
    (tmp_path / "ranked.jsonl").write_text(json.dumps({"prompt": "j", "responses": ["best", "second", "third"]}))
    side = gold_side(str(tmp_path / "ranked.jsonl"), "error")
    assert (gold_texts(side), side.more, side.no_gold) == ({"j": "best"}, 0, {"not the first of its ranking": 2})
    (tmp_path / "rated.jsonl").write_text(
        "\n".join(json.dumps({"prompt": "k", "response": text, "score": n}) for n, text in enumerate("abc"))
    )
    assert gold_texts(gold_side(str(tmp_path / "rated.jsonl"), "error")) == {"k": "c"}


def test_the_published_test_file_is_500_gold_responses() -> None:
    side = gold_side(str(shared("helpful/test.jsonl")), "error")
    assert len(side.texts[GOLD]) + side.more >= 490
    assert "Should you leave cookies for Santa?" in gold_texts(side)


def test_a_bad_row_is_an_error_or_counted(tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    path.write_text('{"instruction": "i", "gold_response": "g"}\n{"instruction": "j", "gold_response": 7}\n')
    with pytest.raises(ValueError, match="line 2"):
        gold_side(str(path), "error")
    side = gold_side(str(path), "skip")
    assert (gold_texts(side), sum(side.skipped.values())) == ({"i": "g"}, 1)


def test_groups_come_from_a_column(tmp_path: Path) -> None:
    path = write_gold(tmp_path / "gold.jsonl", PAIRS, topic="things")
    side = gold_side(path, "error", ["topic"])
    assert set(side.groups.values()) == {(("topic", "things"),)}
    with pytest.raises(ValueError, match=r"groups \(theme\) is in none of its rows.*there are: .*topic"):
        gold_side(path, "error", ["theme"])
    folder = write_answers(tmp_path / "a", [answer("Name a fruit.", "A pear.", 0)])
    with pytest.raises(ValueError, match=r"groups \(topic\) are columns of a gold file, and against .* is a folder"):
        read_side(folder, "error", ["topic"])


def sides(tmp_path: Path, texts: dict[str, list]) -> list[Side]:
    return [answers_side(write_answers(tmp_path / name, rows)) for name, rows in texts.items()]


def test_gold_meets_every_answer_and_what_has_no_opponent_is_counted(tmp_path: Path) -> None:
    gold = gold_side(write_gold(tmp_path / "gold.jsonl", PAIRS), "error")
    rows = [answer("Name a fruit.", f"{t} {s}", 0, temperature=t, sample=s) for t in (0.0, 0.7) for s in (0, 1)]
    rows += [answer("Name a tool.", "A saw.", 1), answer("No gold.", "x", 2, temperature=0.7)]
    [side] = sides(tmp_path, {"a": rows})
    matched = match(side, gold, "judged", "left_out")
    assert len(matched.meetings) == len(rows)
    assert sum(one.other is not None for one in matched.meetings) == 5
    assert [one.outcome for one in matched.meetings if one.other is None] == ["nothing to compare with"]
    assert [one.equal for one in matched.meetings if one.answer.response == "A saw."] == [True]
    # (temperature, sample): three instructions of gold, four of each; five are met
    assert matched.unanswered == {0.0: 1 + 2, 0.7: 2 + 2}


def test_two_folders_meet_at_equal_temperature_and_sample(tmp_path: Path) -> None:
    a, b = sides(
        tmp_path,
        {
            "a": [answer("i", f"a{t}{s}", 0, temperature=t, sample=s) for t in (0.0, 1.0) for s in (0, 1)],
            "b": [answer("i", f"b{t}", 0, temperature=t) for t in (0.0, 1.0, 2.0)],
        },
    )
    there, back = match(a, b, "judged", "left_out"), match(b, a, "judged", "left_out")
    met = [(one.answer.response, one.other.response) for one in there.meetings if one.other]
    assert met == [("a0.00", "b0.0"), ("a1.00", "b1.0")]
    assert (len(there.meetings), there.unanswered.total()) == (4, 1)
    assert (len(back.meetings), back.unanswered.total()) == (3, 2)


def test_a_folder_with_one_answer_an_instruction_meets_all(tmp_path: Path) -> None:
    a, b = sides(
        tmp_path,
        {
            "a": [answer("i", f"a{t}", 0, temperature=t) for t in (0.0, 1.0)],
            "b": [answer("i", "b", 0, temperature=0.5), answer("j", "b", 1, temperature=0.5)],
        },
    )
    assert [one.other and one.other.response for one in match(a, b, "judged", "left_out").meetings] == ["b", "b"]
    back = match(b, a, "judged", "left_out")
    assert [(one.temperature, one.outcome) for one in back.meetings if one.other] == [(0.0, None), (1.0, None)]
    assert sum(one.outcome == "nothing to compare with" for one in back.meetings) == 2


def test_an_instruction_asked_twice_is_two_answers(tmp_path: Path) -> None:
    gold = gold_side(write_gold(tmp_path / "gold.jsonl", PAIRS), "error")
    a, b = sides(
        tmp_path,
        {name: [answer("Name a fruit.", f"{name}{n}", n) for n in range(2)] for name in ("a", "b")},
    )
    assert [one.other and one.other.response for one in match(a, gold, "judged", "left_out").meetings] == [
        "A pear."
    ] * 2
    met = [
        (one.answer.response, one.other and one.other.response) for one in match(a, b, "judged", "left_out").meetings
    ]
    assert met == [("a0", "b0"), ("a1", "b1")]


@pytest.mark.parametrize(
    ("text", "finished", "other", "unfinished", "empty", "outcome"),
    [
        ("x", False, "y", "judged", "left_out", None),
        ("x", False, "y", "loses", "left_out", "loss"),
        ("x", False, "y", "left_out", "left_out", "unfinished"),
        (" \n", True, "y", "judged", "left_out", "empty"),
        (" \n", True, "y", "judged", "loses", "loss"),
        (" \n", True, " ", "judged", "loses", "tie"),
        (" \n", False, "y", "loses", "judged", "loss"),
        ("", True, "y", "judged", "judged", None),
        ("y", True, "y", "judged", "left_out", "tie"),
    ],
)
def test_rules_for_texts_that_are_cut_off_or_empty(tmp_path, text, finished, other, unfinished, empty, outcome) -> None:
    a, b = sides(tmp_path, {"a": [answer("i", text, 0, finished=finished)], "b": [answer("i", other, 0)]})
    mirror = {"win": "loss", "loss": "win"}
    assert match(a, b, unfinished, empty).meetings[0].outcome == outcome
    assert match(b, a, unfinished, empty).meetings[0].outcome == mirror.get(outcome, outcome)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="jpo generate"):
        answers_side(str(tmp_path))
    folder = write_answers(tmp_path / "a", [answer("i", "x", 0), answer("i", "y", 0)])
    with pytest.raises(ValueError, match="two answers to instruction 0"):
        answers_side(folder)


def test_a_row_of_gold_responses_has_at_most_max_row_mib(tmp_path: Path) -> None:
    path = write_gold(tmp_path / "gold.jsonl", [("say 1", "one"), ("say 2", "long " * 300_000)])
    assert len(gold_texts(gold_side(path, "error"))) == 2
    with pytest.raises(BadRowError, match="line 2: more than 1 MiB in one row"):
        read_side(path, "error", max_row_mib=1)
