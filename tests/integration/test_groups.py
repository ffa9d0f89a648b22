"""Who judged, from a file's columns to what a run trains on and what is reported by group."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jpo_dist.statistics.intervals import wilson
from launcher.stages.evaluate import group_figures
from tests.support.commands import Files, Warm, lines_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COUNTRIES = ("DE", "FR", "DE", "US", "")


@pytest.fixture(scope="module")
def by_country(tiny: Files) -> Path:
    """The twelve held-out comparisons, each with the country of who judged; every fifth has none."""
    rows = [json.loads(line) for line in Path(tiny.validation).read_text().splitlines()]
    file = tiny.folder / "by_country.jsonl"
    labelled = ({**row, "country": COUNTRIES[n % 5], "who": f"p{n % 2}"} for n, row in enumerate(rows))
    file.write_text("".join(json.dumps(row) + "\n" for row in labelled))
    return file


def test_held_out_accuracy_by_group_equals_a_hand_count_of_the_scored_rows(
    alone: Path, tiny: Files, by_country: Path, warm: Warm, tmp_path: Path
) -> None:
    words = [f"run.dir={alone}", "cluster.workers=0", "tracking.uri=none", "data.groups=[country]"]
    data = [f"data.train={by_country}", f"data.validation={by_country}"]
    scored = warm("score", tiny.config, *words, f"score.data={by_country}", f"score.output={tmp_path}").check()
    z = pq.read_table(tmp_path / "margins.parquet")["z"].to_pylist()  # a row a comparison, in the file's order
    wins: dict[str, list[bool]] = {}
    for row, margin in zip(by_country.read_text().splitlines(), z, strict=True):
        wins.setdefault(json.loads(row)["country"], []).append(margin > 0)
    expected = {code: wilson(sum(won), len(won)) for code, won in wins.items() if code}
    counts = {code: len(won) for code, won in wins.items()}
    assert counts == {"DE": 5, "FR": 3, "US": 2, "": 2}
    share, low, high = expected["DE"]  # type: ignore[misc]
    evaluated = warm("evaluate", tiny.config, *words, *data).check()
    for file in (tmp_path / "report.json", alone / "evaluation.json"):
        found = json.loads(file.read_text())["groups"]["country"]
        assert {row["value"]: row["rewards/accuracies"] for row in found["values"]} == expected
        assert {row["value"]: row["comparisons"] for row in found["values"]} == {c: counts[c] for c in expected}
        assert (found["no_value"], found["more_values"]) == (2, 0)
        figures = group_figures("x", {"country": found})
        assert (figures["x/group/country/DE/accuracy"], figures["x/group/country/US/comparisons"]) == (share, 2.0)
    assert f"country DE (5): accuracy {share:.3f} [{low:.3f}, {high:.3f}]" in scored.said
    assert "who judged: country" in evaluated.out
    assert "no value 2" in evaluated.out


def test_a_run_trains_on_a_group_and_no_other_run_goes_on_with_it(
    tiny: Files, by_country: Path, warm: Warm, tmp_path: Path
) -> None:
    words = [
        f"data.train={by_country}", f"data.validation={by_country}", "data.groups=[country,who]",
        f"run.dir={tmp_path / 'run'}", "cluster.workers=0", "tracking.uri=none", "train.comparisons_per_step=5",
        "train.max_steps=1",
    ]  # fmt: skip
    done = warm("train", tiny.config, *words, "data.only={country: [DE]}").check()
    assert "5 of 12 comparisons kept by data.only country=DE" in done.said
    assert "by country: DE 5, FR 3, US 2, no value 2" in done.said
    assert lines_of(tmp_path / "run")[0]["metrics"]["eval/comparisons"] == 12, "what is held out stays whole"
    other = warm("train", tiny.config, *words, "data.only={country: [DE, US]}")
    assert "ResumeError" in other.check(2).said
    assert "set it back, or use another run.dir" in other.said
    unknown = warm("train", tiny.config, *words, "data.without={country: [NO]}").check(2)
    assert "data.without.country (false): no comparison has it; there are country: DE 5" in unknown.said
    assert "write 'NO'" in unknown.said


def test_inspect_counts_agreement_by_group(by_country: Path, warm: Warm) -> None:
    found = json.loads(warm("data", "inspect", str(by_country), "--group", "country", "--json").check().out)
    rows = {row["value"]: row["comparisons"] for row in found["groups"]["country"]["values"]}
    assert (rows, found["groups"]["country"]["no_value"]) == ({"DE": 5, "FR": 3, "US": 2}, 2)
    said = warm("data", "inspect", str(by_country), "--group", "country", "--group", "who").check().said
    assert "who judged: country" in said
    assert "who judged: who" in said


@pytest.mark.nightly
def test_a_column_of_responses_stays_through_candidates_judge_and_build_to_what_is_reported(
    tiny: Files, warm: Warm, tmp_path: Path
) -> None:
    """Responses that nobody has compared, half of them right: a program judges them, and all is told by topic."""
    rows = [
        {
            "prompt": f"say {n}. Write without commas.",
            "completion": f"well{comma} {n}",
            "topic": ("fruit", "math")[n % 2],
        }
        for n in range(12)
        for comma in ("", ",")
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made, judged, final, run = (tmp_path / name for name in ("made", "judged", "final", "run"))

    def build(source: dict[str, object], out: Path, **more: object) -> None:
        config = out.with_suffix(".yaml")
        split = {"validation": 0.4, "test": 0}
        config.write_text(json.dumps({"sources": [source], "output": str(out), "split": split, **more}))
        warm("data", "build", str(config), "tracking.uri=none").check()

    candidates = {"policy": "conditional", "budget": 99}
    build({"path": str(answers), "groups": ["topic"]}, made, pairs=[], candidates=candidates)
    ask = tmp_path / "judge.yaml"
    checker = {"function": "jpo_dist.evaluate.constraints:constraints_held"}
    ask.write_text(
        json.dumps(
            {"candidates": str(made / "candidates.jsonl"), "output": str(judged), "kind": "checker", "checker": checker,
             "groups": ["topic"], "tracking": {"uri": "none"}}
        )
    )  # fmt: skip
    warm("judge", str(ask)).check()
    build({"path": f"{judged}:all"}, final)
    table = pq.read_table(final / "comparisons.parquet")
    of_topic = [known["value"] for (known,) in table["groups"].to_pylist()]
    assert sorted(of_topic) == ["fruit"] * 6 + ["math"] * 6

    words = [
        f"data.train={final}:train", f"data.validation={final}:validation", f"run.dir={run}", "cluster.workers=0",
        "tracking.uri=none", "train.comparisons_per_step=2", "train.max_steps=1",
    ]  # fmt: skip
    done = warm("train", tiny.config, *words, "data.only={topic: [math]}").check()
    splits = table["split"].to_pylist()
    held = [topic for topic, split in zip(of_topic, splits, strict=True) if split == "validation"]
    kept = of_topic.count("math") - held.count("math")
    assert f"{kept} of {12 - len(held)} comparisons kept by data.only topic=math" in done.said
    warm("evaluate", tiny.config, *words).check()
    found = json.loads((run / "evaluation.json").read_text())["groups"]["topic"]
    assert {row["value"]: row["comparisons"] for row in found["values"]} == {t: held.count(t) for t in set(held)}
    assert set(held) == {"fruit", "math"}
