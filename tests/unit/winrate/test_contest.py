"""Two sides before a real checker: verdicts come back to their answers, and a swap mirrors the whole report."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.generate.answers import Answer
from jpo_dist.records.comparisons import Item
from jpo_dist.winrate.config import WinRateConfig
from jpo_dist.winrate.contest import hold, read_contest
from jpo_dist.winrate.rates import JUDGED, LEFT_OUT
from jpo_dist.winrate.report import metrics, report
from launcher.show.winrate import markdown
from tests.support.answer_folders import answer, write_answers, write_gold
from tests.support.rows import write_rows

INSTRUCTIONS = [f"Say {word}. Do not use any commas." for word in ("one", "two", "three", "four")]


def commas(item: Item) -> float | None:
    """Fewer commas are better; a question mark cannot be told."""
    return None if "?" in item.response else -float(item.response.count(","))


def config(answers: Any, against: str, **more: Any) -> WinRateConfig:
    checker = {"function": "tests.unit.winrate.test_contest:commas"}
    values = {"answers": answers, "against": against, "output": "o", "kind": "checker", "checker": checker}
    return WinRateConfig.model_validate(values | more)


def held(settings_of: WinRateConfig, folder: Path) -> dict[str, Any]:
    contest = read_contest(settings_of)
    return report(contest, hold(contest, settings_of, folder), settings_of)


def test_each_outcome_comes_back_to_its_answer(tmp_path: Path) -> None:
    """A gold response with one comma against: none, two, one, unclear, empty, itself, and what has no gold."""
    texts = ["a", "a,,", "a,", "a?", " ", "gold,", "x"]
    instructions = [f"i{n}" for n in range(len(texts))]
    folder = write_answers(
        tmp_path / "a", [answer(i, t, n) for n, (i, t) in enumerate(zip(instructions, texts, strict=True))]
    )
    gold = write_gold(tmp_path / "gold.jsonl", [(i, "gold,") for i in [*instructions[:-1], "unanswered"]])
    made = held(config(folder, gold), tmp_path)
    found = made["all"]
    assert {name: found[name] for name in (*JUDGED, *LEFT_OUT) if found[name]} == {
        "win": 1, "loss": 1, "tie": 2, "unparsable": 1, "empty": 1, "nothing to compare with": 1,
    }  # fmt: skip
    assert (found["win_rate"], found["judged"], found["answers"], found["equal_texts"]) == (0.5, 4, 7, 1)
    assert made["unanswered"] == 1
    constant = made["controls"]["constant"]  # without commas: it beats every gold response
    assert (constant["win"], constant["answers"], constant["of_instructions"]) == (6, 6, 6)
    flat = metrics(made)
    assert (flat["winrate/win_rate"], flat["winrate/judged"], flat["winrate/constant/win_rate"]) == (0.5, 4.0, 1.0)


def test_several_runs_other_models_and_groups(tmp_path: Path) -> None:
    def folder(name: str, commas_of: Any) -> str:
        rows = [
            answer(i, f"{name}{t}" + "," * commas_of(n), n, temperature=t)
            for t in (0.0, 0.7)
            for n, i in enumerate(INSTRUCTIONS)
        ]
        return write_answers(tmp_path / name, rows)

    runs = [folder("a", lambda n: n % 2), folder("b", lambda n: 2 * (n == 0))]
    others = [folder("c", lambda n: 2), folder("d", lambda n: 0)]
    gold = write_gold(tmp_path / "gold.jsonl", [(i, "gold,") for i in INSTRUCTIONS], topic="numbers")
    made = held(config(runs, gold, compare=others, group="topic", controls={"prompts": 2}), tmp_path)
    assert made["all"]["interval_method"].startswith("crossed")
    assert made["all"]["answers"] == 16
    assert [part["answers"] for part in made["by_run"].values()] == [8, 8]
    assert [part["win_rate"] for part in made["by_run"].values()] == [0.75, 0.75]
    assert {name: part["answers"] for name, part in made["by_temperature"].items()} == {"0": 8, "0.7": 8}
    assert made["by_group"]["numbers"]["win"] == made["all"]["win"]
    assert made["controls"]["constant"]["answers"] == 2
    gaps = [other["minus"] for other in made["compare"]]
    assert [gap["difference"] for gap in gaps] == [0.75, -0.25]
    assert [(gap["better"], gap["worse"]) for gap in gaps] == [(4, 0), (0, 3)]
    assert [gap["p_holm"] for gap in gaps] == pytest.approx([2 * 2 / 2**4, 0.25])


def test_a_report_by_several_groups_adds_up_to_the_counts(tmp_path: Path) -> None:
    folder = write_answers(tmp_path / "a", [answer(i, "a" + "," * (n % 3), n) for n, i in enumerate(INSTRUCTIONS)])
    rows = [
        {"instruction": i, "output": "gold,", "country": code, "age": age}
        for i, code, age in zip(INSTRUCTIONS, ("DE", "FR", "DE", None), (30, 30, 30, 40), strict=True)
    ]
    gold = write_rows(tmp_path / "gold.jsonl", rows)
    found = held(config(folder, gold, groups=["country", "age"]), tmp_path)
    # No comma wins, two lose against one: instructions 0 and 3 win, 1 ties, 2 loses.
    told = {
        name: {value: [part[key] for key in ("win", "tie", "loss")] for value, part in parts.items()}
        for name, parts in found["groups"].items()
    }
    assert told == {
        "country": {"DE": [1, 0, 1], "FR": [0, 1, 0]},
        "age": {"30": [1, 1, 1], "40": [1, 0, 0]},
    }
    assert found["by_group"] == {}
    assert metrics(found)["winrate/group/country/DE/win_rate"] == 0.5
    one = held(config(folder, gold, group="country"), tmp_path)
    assert one["groups"] == {"country": one["by_group"]} == {"country": found["groups"]["country"]}
    said = markdown(found)
    assert "| country DE | 50.0 % |" in said
    assert "1 answers are to an instruction without a value of country." in said
    with pytest.raises(ValueError, match=r"group \(age\) and groups \(country\): name all columns in groups"):
        config(folder, gold, group="age", groups=["country"])


def test_how_often_the_first_shown_wins_is_told_by_group_too(tmp_path: Path) -> None:
    """A judge of letters: with DE it names the first both times, with FR the same answer; without a value it is in no
    group."""
    folder = write_answers(tmp_path / "a", [answer(i, "a", n) for n, i in enumerate(INSTRUCTIONS)])
    codes = ("DE", "FR", "DE", None)
    rows = [{"instruction": i, "output": "b", "country": c} for i, c in zip(INSTRUCTIONS, codes, strict=True)]
    settings_of = config(folder, write_rows(tmp_path / "gold.jsonl", rows), groups=["country"])
    contest = read_contest(settings_of)
    outcomes = hold(contest, settings_of, tmp_path)
    shown = {"DE": "aa", "FR": "ab", None: "bb"}
    letters = [one._replace(letters=shown[dict(one.groups).get("country")]) for one in outcomes.runs]
    found = report(contest, outcomes._replace(runs=letters), settings_of)
    by_country = found["order_by_group"]["country"]
    told = {value: (part["first_rate"], part["comparisons"], part["flip_rate"]) for value, part in by_country.items()}
    assert told == {"DE": (1.0, 2, 1.0), "FR": (0.5, 1, 0.0)}
    assert found["order"]["first_rate"] == 0.625
    assert metrics(found)["winrate/group/country/DE/first_rate"] == 1.0
    assert "| country DE: the first wins | 100.0 % |" in markdown(found)
    assert "order_by_group" not in report(contest, outcomes, settings_of)  # a program sees no order


def test_answers_to_other_instructions_are_no_win_rate(tmp_path: Path) -> None:
    gold = write_gold(tmp_path / "gold.jsonl", [("Name a sea.", "The Baltic.")])
    folder = write_answers(tmp_path / "a", [answer("Name a sea", "x", 0)])
    with pytest.raises(ValueError, match=r"no instruction of .* is in against .*the texts must be equal"):
        read_contest(config(folder, gold))


TEXTS = st.sampled_from(["a", "b,", "c,,", "d?", "", " ", "longer text of it, I think"])
SIDE = st.lists(
    st.tuples(
        st.sampled_from(INSTRUCTIONS), TEXTS, st.booleans(), st.sampled_from([0.0, 0.7]), st.sampled_from([0, 1])
    ),
    min_size=1,
    max_size=14,
)


def answers_of(rows: list[tuple[str, str, bool, float, int]]) -> list[Answer]:
    made = [
        answer(i, text, n, finished=finished, temperature=t, sample=s)
        for n, (i, text, finished, t, s) in enumerate(rows)
    ]
    return [*made, answer(INSTRUCTIONS[0], "a,", 99)]


def flipped(part: dict[str, Any]) -> dict[str, Any]:
    """What a part of the report becomes when the sides are swapped; counts of the sides' own aside."""
    ends = part["interval"] and [round(1 - end, 8) + 0.0 for end in reversed(part["interval"])]
    rate = None if part["win_rate"] is None else round(1 - part["win_rate"], 10)
    kept = {name: part[name] for name in (*LEFT_OUT[:-1], "tie", "judged", "equal_texts", "interval_method")}
    return kept | {"win": part["loss"], "loss": part["win"], "win_rate": rate, "interval": ends}


@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE, st.sampled_from(["judged", "loses", "left_out"]), st.sampled_from(["judged", "loses", "left_out"]))
def test_swapping_the_sides_mirrors_the_report(one: list, other: list, unfinished: str, empty: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        a, b = (write_answers(Path(place) / name, answers_of(rows)) for name, rows in (("a", one), ("b", other)))
        rules = {"unfinished": unfinished, "empty": empty}
        there, back = (held(config(*sides, **rules), Path(place)) for sides in ((a, b), (b, a)))
    for part, mirror in [
        (there["all"], back["all"]),
        *((part, back["by_temperature"][t]) for t, part in there["by_temperature"].items() if part["judged"]),
    ]:
        want = flipped(part)
        assert {name: mirror[name] for name in want if name != "interval"} == {
            name: value for name, value in want.items() if name != "interval"
        }
        if want["interval"] is not None:
            assert [round(end, 8) for end in mirror["interval"]] == want["interval"]
    assert there["all"]["nothing to compare with"] == back["unanswered"]
    assert there["lengths"]["longer_wins"] == back["lengths"]["longer_wins"]
    assert there["lengths"]["longer"] == back["lengths"]["shorter"]
    assert there["order"] == back["order"]


def test_the_report_tells_what_is_no_gold_and_where_gold_was_read(tmp_path: Path) -> None:
    folder = write_answers(tmp_path / "a", [answer(f"i{n}", "a", n) for n in range(3)])
    rows = [("i0", "gold,", 3), ("i1", "low,", 1), ("i2", "x", 3), ("i2", "y", 2)]
    rated = write_rows(tmp_path / "rated.jsonl", [{"prompt": i, "response": r, "score": s} for i, r, s in rows])
    thumbs = write_rows(tmp_path / "thumbs.jsonl", [{"prompt": "i0", "completion": "bad", "label": False}])
    made = held(config(folder, rated).model_copy(update={"against": [rated, thumbs]}), tmp_path)
    against = made["against"]
    counts = {name: against[name] for name in ("texts", "not_used", "no_gold", "lowest_score", "skipped")}
    assert counts == {"texts": 3, "not_used": 1, "no_gold": {"thumbs down": 1}, "lowest_score": 1, "skipped": {}}
    said = markdown(made)
    assert "1 responses of the gold file are no gold: thumbs down." in said
    assert "1 gold responses have the lowest score of their file: are they good?" in said
    assert "Gold of rated.jsonl: layout rating; read: prompt, response, score." in said
    assert "Gold of thumbs.jsonl: layout thumbs; read: prompt, completion, label." in said
