"""From cells to readings, on results whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jpo_dist.generate.answers import Answer, write_answers
from jpo_dist.records.comparisons import Item
from jpo_dist.statistics.crossed import Variances, crossed_difference
from jpo_dist.study.findings import findings, pilot
from jpo_dist.study.outcomes import of_answers, of_scores, of_verdicts
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.tables import Result

CHECKER = "tests.unit.study.test_findings:says_yes"
PROMPTS, ANSWERS = 200, 4


def says_yes(item):  # type: ignore[no-untyped-def]
    """The checker of these tests: 1 for yes, 0 for no, None for anything else."""
    return {"yes": 1.0, "no": 0.0}.get(item.response)


def simulated(arm: str, rate: float, seeds: int, draw: np.random.Generator, point: str | None = None) -> list[Result]:
    found = []
    for seed in range(seeds):
        passed = draw.binomial(ANSWERS, rate, PROMPTS)
        sums = {"pass": {f"{p:03d}": [float(n), float(n), ANSWERS] for p, n in enumerate(passed)}}
        found.append(Result(arm, {"seed": seed, **({"size": point} if point else {})}, sums, {"answers": 4 * PROMPTS}))
    return found


def question(**settings: object) -> QuestionConfig:
    return QuestionConfig(**{"answers": "test", "checker": CHECKER, "compare": [("new", "old")], **settings})  # type: ignore[arg-type]


def test_a_difference_is_found_and_mirrored() -> None:
    draw = np.random.default_rng(0)
    results = [*simulated("new", 0.45, 4, draw), *simulated("old", 0.30, 4, draw)]
    found = findings(results, question())
    (one,) = found["comparisons"]
    assert one["reading"] == "higher"
    assert one["difference"] == pytest.approx(0.15, abs=0.03)
    assert one["interval"][0] < 0.15 < one["interval"][1]
    (other,) = findings(results, question(compare=[("old", "new")]))["comparisons"]
    assert other["reading"] == "lower"
    assert (other["difference"], other["p_value"]) == (-one["difference"], one["p_value"])
    assert other["interval"] == [-one["interval"][1], -one["interval"][0]]


def test_arms_are_reported_by_run_and_pooled() -> None:
    results = simulated("old", 0.3, 3, np.random.default_rng(1))
    figure = findings(results, question(compare=[]))["arms"][0]["metrics"]["pass"]
    sums = [sum(cell[0] for cell in one.sums["pass"].values()) for one in results]
    assert figure["by_seed"] == [value / (PROMPTS * ANSWERS) for value in sums]
    assert figure["value"] == pytest.approx(sum(sums) / (3 * PROMPTS * ANSWERS))
    assert figure["answers"] == 3 * PROMPTS * ANSWERS


def test_the_interval_of_a_rate_ends_at_0_and_1_and_that_of_a_score_where_it_ends() -> None:
    """Two runs that differ: t has one degree of freedom, and reaches far beyond."""
    draw = np.random.default_rng(1)
    results = [simulated("old", rate, 1, draw)[0]._replace(values={"seed": n}) for n, rate in enumerate((0.3, 0.6))]
    for one in results:
        one.sums["score"] = {key: [total, total / 2, count] for key, (total, _, count) in one.sums["pass"].items()}
    figures = findings(results, question(compare=[]))["arms"][0]["metrics"]
    assert figures["pass"]["interval"] == [0.0, 1.0]
    low, high = figures["score"]["interval"]
    assert low < 0.0
    assert high > 1.0


def test_only_seeds_that_both_have_are_paired() -> None:
    draw = np.random.default_rng(2)
    new, old = simulated("new", 0.4, 5, draw), simulated("old", 0.4, 5, draw)
    (one,) = findings([*new[1:], *old[:4]], question())["comparisons"]
    assert one["seeds"] == [1, 2, 3]
    tables = [np.array([[cell[0] for cell in run.sums["pass"].values()] for run in runs[1:4]]).T for runs in (new, old)]
    counts = np.full((PROMPTS, 3), ANSWERS)
    assert one["difference"] == crossed_difference((tables[0], counts), (tables[1], counts)).value


def test_equal_arms_are_equivalent_only_within_the_margin_that_was_said() -> None:
    draw = np.random.default_rng(3)
    results = [*simulated("new", 0.3, 8, draw), *simulated("old", 0.3, 8, draw)]
    assert findings(results, question(margin=0.05))["comparisons"][0]["reading"] == "equivalent"
    assert findings(results, question(margin=0.001))["comparisons"][0]["reading"] == "undecided"


def test_p_values_are_adjusted_over_all_points_and_pairs() -> None:
    draw = np.random.default_rng(4)
    results = [
        one for point in ("1", "2", "3") for arm in ("new", "old") for one in simulated(arm, 0.3, 3, draw, point)
    ]
    lines = findings(results, question())["comparisons"]
    assert [line["point"] for line in lines] == ["size=1", "size=2", "size=3"]
    smallest = min(lines, key=lambda line: line["p_value"])
    assert smallest["p_holm"] == min(1.0, 3 * smallest["p_value"])


def test_one_run_says_nothing_of_others() -> None:
    draw = np.random.default_rng(5)
    (one,) = findings([*simulated("new", 0.9, 1, draw), *simulated("old", 0.1, 1, draw)], question())["comparisons"]
    assert (one["reading"], one["p_value"]) == ("undecided", None)
    assert "one run" in one["method"]
    assert one["interval"][0] > 0.5


def test_one_run_has_the_interval_of_its_own_figure_where_answers_are_unequal_in_number() -> None:
    """Of a rate of finished answers: the interval was about the mean of instructions' rates, and left the rate out."""
    few = {f"{q:02d}": [7.0, 7.0, 8] if q < 10 else [0.0, 0.0, 1] for q in range(20)}
    more = {f"{q:02d}": [6.0, 6.0, 8] if q % 2 else [1.0, 1.0, 2] for q in range(20)}
    runs = [Result(arm, {"seed": 1}, {"pass": of}, {}) for arm, of in (("new", few), ("old", more))]
    found = findings(runs, question())
    low, high = found["arms"][0]["metrics"]["pass"]["interval"]
    assert found["arms"][0]["metrics"]["pass"]["value"] == pytest.approx(70 / 90)
    assert low < 70 / 90 < high
    rng, draws = np.random.default_rng(0), []
    new, old = (np.array(list(of.values())) for of in (few, more))
    for _ in range(4000):
        drawn = rng.integers(0, 20, 20)
        draws.append([new[drawn, 0].sum() / new[drawn, 2].sum(), old[drawn, 0].sum() / old[drawn, 2].sum()])
    assert [low, high] == pytest.approx(np.percentile(np.array(draws)[:, 0], [2.5, 97.5]), abs=0.02)
    (one,) = found["comparisons"]
    assert one["difference"] == pytest.approx(70 / 90 - 70 / 100)
    gaps = np.diff(draws, axis=1)[:, 0] * -1
    assert one["interval"] == pytest.approx(np.percentile(gaps, [2.5, 97.5]), abs=0.02)
    again = [one._replace(values={"seed": 2}) for one in runs]
    both = findings([*runs, *again], question())["comparisons"]
    assert both[0]["difference"] == pytest.approx(one["difference"]), "a second run changes nothing about the question"


def test_an_arm_without_results_has_no_line() -> None:
    assert findings(simulated("new", 0.5, 2, np.random.default_rng(6)), question())["comparisons"] == []


def test_a_pilot_tells_the_sampling_of_answers() -> None:
    told = pilot(simulated("old", 0.3, 6, np.random.default_rng(7)), "pass")["", "old"]
    assert isinstance(told, Variances)
    assert told.within == pytest.approx(0.21, rel=0.05)
    assert told.between_runs < 0.0005
    assert pilot(simulated("old", 0.3, 1, np.random.default_rng(7)), "pass")["", "old"].startswith(
        "200 instructions, 1 runs"
    )  # type: ignore[union-attr]


def answer(prompt: int, text: str, finished: bool, sample: int = 0) -> Answer:
    return Answer(prompt, f"id{prompt}", f"say {prompt}", text, finished, len(text), 1.0, sample, 0, "m", "local")


def test_the_sums_of_answers_by_hand(tmp_path: Path) -> None:
    write_answers(
        [
            answer(0, "yes", True), answer(0, "no", True, 1), answer(0, "yes", False, 2),
            answer(1, "maybe", True), answer(1, "no", False, 1),
        ],
        tmp_path,
    )  # fmt: skip
    sums, counts = of_answers(tmp_path, CHECKER)
    assert sums["pass"] == {"id0": [1, 1, 3], "id1": [0, 0, 1]}
    assert sums["pass_of_finished"] == {"id0": [1, 1, 2]}
    assert sums["finished"] == {"id0": [2, 2, 3], "id1": [1, 1, 2]}
    assert sums["score"] == {"id0": [2, 2, 3], "id1": [0, 0, 1]}
    assert sums["tokens"]["id0"] == [8, 22, 3]
    assert counts == {"answers": 5, "checker cannot tell": 1}


def test_the_sampled_kl_is_of_answers_at_temperature_1_that_end(tmp_path: Path) -> None:
    drawn = [
        answer(0, "yes", True), answer(0, "yes", True, 1), answer(0, "no", True, 2), answer(1, "no", False),
        answer(1, "maybe", True, 1)._replace(temperature=0.5), answer(2, "too long", True),
    ]  # fmt: skip
    write_answers(drawn, tmp_path)
    rewards = {("say 0", "yes"): 0.5, ("say 0", "no"): -0.25, ("say 1", "no"): 9.0, ("say 1", "maybe"): 9.0}
    table = {"id": [Item.of(*pair).id for pair in rewards], "reward_response": list(rewards.values())}
    table["id"].append(Item.of("say 2", "too long").id)
    table["reward_response"].append(None)  # over-long items have no score
    pq.write_table(pa.table(table), tmp_path / "items.parquet")
    assert of_scores(tmp_path / "items.parquet", tmp_path) == {"kl": {"id0": [0.75, 0.5625, 3]}}


def test_a_run_without_a_metric_is_no_run_of_it() -> None:
    results = simulated("new", 0.5, 3, np.random.default_rng(8))
    for one in results[1:]:
        one.sums["kl"] = {"other": [1.0, 1.0, 1], "another": [3.0, 9.0, 1]}
    (arm,) = findings(results, question(compare=[]))["arms"]
    assert arm["seeds"] == [0, 1, 2]
    assert (arm["metrics"]["kl"]["value"], arm["metrics"]["kl"]["by_seed"]) == (2.0, [2.0, 2.0])


def test_labels_are_told_apart_and_other_metrics_have_no_test() -> None:
    draw = np.random.default_rng(9)
    results = [*simulated("new", 0.5, 4, draw), *simulated("old", 0.3, 4, draw)]
    for one in results:
        one.sums["tokens"] = {q: [4.0 * (len(one.arm) + int(q) % 3), 0.0, 4] for q in one.sums["pass"]}
    labels = {f"{q:03d}": "odd" if q % 2 else "even" for q in range(PROMPTS)}
    found = findings(results, question(), labels)
    odd = [
        one._replace(sums={"pass": {q: cell for q, cell in one.sums["pass"].items() if labels[q] == "odd"}})
        for one in results
    ]
    alone = findings(odd, question())["comparisons"][0]
    (line,) = [one for one in found["strata"]["comparisons"] if one["label"] == "odd"]
    assert (line["difference"], line["interval"]) == (alone["difference"], alone["interval"])
    assert {one["instructions"] for one in found["strata"]["arms"]} == {PROMPTS // 2}
    assert [(one["metric"], one["difference"]) for one in found["others"]] == [("tokens", pytest.approx(0))]
    assert not {"p_value", "reading"} & set(found["others"][0])


def test_a_run_without_a_figure_leaves_the_intervals_of_labels_as_they_are() -> None:
    draw = np.random.default_rng(9)
    results = [*simulated("new", 0.5, 3, draw), *simulated("old", 0.3, 4, draw)]
    labels = {f"{q:03d}": "odd" if q % 2 else "even" for q in range(PROMPTS)}
    without = Result("new", {"seed": 3}, {"tokens": {"000": [3.0, 9.0, 1]}}, {})
    before, after = (findings(some, question(), labels)["strata"] for some in (results, [*results, without]))
    assert after["comparisons"] == before["comparisons"]
    assert all(line["interval"] for line in after["comparisons"])


def test_the_sums_of_verdicts_leave_out_what_has_none(tmp_path: Path) -> None:
    rows = [
        ("a", "p", "win"), ("a", "p", "tie"), ("a", "q", "unparsable"), ("a", "q", "loss"),
        ("constant answer", "p", "win"),
    ]  # fmt: skip
    file = tmp_path / "verdicts.jsonl"
    file.write_text("".join(json.dumps({"answers": w, "prompt_id": p, "outcome": o}) + "\n" for w, p, o in rows))
    sums, counts = of_verdicts(file)
    assert sums == {"win": {"p": [1.5, 1.25, 2], "q": [0, 0, 1]}}
    assert counts == {"answers": 4, "no verdict": 1}


def alike(arm: str, values: dict[str, float], seeds: int, **place: object) -> list[Result]:
    """Runs of which every answer to each of 20 instructions has the same value of a metric."""
    sums = {metric: {f"{q}": [2 * v, 2 * v * v, 2] for q in range(20)} for metric, v in values.items()}
    return [Result(arm, {"seed": seed, **place}, sums, {"answers": 40}) for seed in range(seeds)]


@pytest.mark.parametrize(("new", "old"), [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_answers_that_are_all_alike_decide_nothing(seeds: int, new: float, old: float) -> None:
    """Neither that two arms are equivalent nor that they differ: with no spread seen there is no error to test by."""
    results = [*alike("new", {"pass": new}, seeds), *alike("old", {"pass": old}, seeds)]
    found = findings(results, question())
    (line,) = found["comparisons"]
    assert (line["difference"], line["interval"], line["reading"]) == (new - old, None, "undecided")
    assert (line["p_value"], line["p_holm"], line["p_equivalent"]) == (None, None, None)
    assert "zero variance" in line["method"]
    low, high = found["arms"][0]["metrics"]["pass"]["interval"]
    z2 = 1.959963984540054**2
    assert (low, high) == pytest.approx((20 / (20 + z2), 1.0) if new else (0.0, z2 / (20 + z2)))


def test_only_rates_and_the_kl_of_the_reference_have_an_interval_where_all_is_alike() -> None:
    values = {"win": 0.5, "score": 0.0, "tokens": 1.0, "kl": 0.0, "finished": 1.0}
    for seeds in (1, 3):
        (arm,) = findings(alike("new", values, seeds), question(compare=[]))["arms"]
        ends = {metric: figure["interval"] for metric, figure in arm["metrics"].items()}
        assert (ends["score"], ends["tokens"], ends["kl"]) == (None, None, [0.0, 0.0])
        assert sum(ends["win"]) == pytest.approx(1.0)
        assert ends["finished"][0] < ends["finished"][1] == 1.0
    scored = findings(alike("new", {"pass": -0.5, "score": -0.5}, 2), question(compare=[]))["arms"][0]["metrics"]
    assert scored["pass"]["interval"] is None, "a score from -1 to 1 is no share of answers"


def test_a_pair_that_is_all_alike_takes_no_part_in_the_adjustment_and_a_trend_of_such_is_none() -> None:
    draw = np.random.default_rng(10)
    results = [*simulated("new", 0.45, 4, draw), *simulated("old", 0.40, 4, draw)]
    results = [one._replace(values={**one.values, "size": 1}) for one in results]
    alone = findings(results, question())["comparisons"][0]
    same = [one for arm in ("new", "old") for one in alike(arm, {"pass": 1.0}, 4, size=2)]
    first, second = findings([*results, *same], question())["comparisons"]
    assert (first["p_holm"], second["p_holm"]) == (alone["p_holm"], None)
    flat = [one for arm in ("new", "old") for size in (1, 2) for one in alike(arm, {"pass": 1.0}, 4, size=size)]
    (trend,) = findings(flat, question(trend="size"))["trends"]
    assert (trend["slope"], trend["p_value"], trend["reading"]) == (None, None, "undecided")
    assert "zero variance" in pilot(flat, "pass")["size=1", "new"]  # type: ignore[operator]


def test_a_cell_without_a_verdict_is_a_run_without_a_figure() -> None:
    nothing = Result("new", {"seed": 2}, {}, {"answers": 5, "no verdict": 5})
    asked = question(primary="win", checker=None)
    found = findings([*alike("old", {"win": 0.5}, 2), *alike("new", {"win": 1.0}, 2), nothing], asked)
    assert [(arm["arm"], arm["seeds"]) for arm in found["arms"]] == [("old", [0, 1]), ("new", [0, 1, 2])]
    assert len(found["arms"][1]["metrics"]["win"]["by_seed"]) == 2
    assert found["without"] == [{"arm": "new", "values": {"seed": 2}, "counts": nothing.counts}]
    (arm,) = findings([nothing], asked, {"0": "a", "1": "b"})["arms"]
    assert (arm["seeds"], arm["metrics"]) == ([2], {})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"checker": None}, "needs a checker"),
        ({"compare": [("old", "old")]}, "compares an arm with itself"),
        ({"compare": [("new", "old"), ("old", "new")]}, "names a pair twice"),
        ({"margin": 0}, "greater than 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        question(**settings)
