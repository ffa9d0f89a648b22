"""What the trainings of a study say beside its answers: parts of the margin by step, which data they share, what they
took."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from jpo_dist.study.tables import point_of
from launcher.pipeline.resolve import Stage
from launcher.study.cells import Cell, unique
from launcher.study.report.told import CURVES, Published, told_of, took

POINTS = 24
"""Most points of a curve: each is the mean of a few steps."""
Run = Sequence[Mapping[str, float]]
"""CURVES of the steps of one training."""


def last_training(cell: Cell) -> Stage | None:
    """The training that the cell's answers come from; None for an arm that trains nothing."""
    return next((stage for stage in reversed(cell.stages) if stage.kind.trains), None)


def curves(cells: Sequence[Cell], published: Published) -> list[dict[str, Any]]:
    """Metrics over training for each arm and point, means of its runs: {"point", "arm", "runs", "ends", "last"} and,
    over "steps", each of CURVES.

    The last training of each cell counts; an arm whose training has no margins has no line.
    """
    runs: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for cell in cells:
        trained = last_training(cell)
        steps = told_of(trained, published).get("steps") if trained else None
        if steps:
            runs[point_of(cell.values), cell.arm].append(steps)
    return [_curve(point, arm, of) for (point, arm), of in runs.items()]


def metrics_at_the_end(cell: Cell, published: Published) -> Mapping[str, float]:
    """The mean of each metric of the cell's last training over the last quarter of the steps that have it."""
    trained = last_training(cell)
    found: Mapping[str, float] = told_of(trained, published).get("last", {}) if trained else {}
    return found


def _curve(point: str, arm: str, runs: Sequence[Run]) -> dict[str, Any]:
    """Up to where the longest run ends; behind the end of a shorter one, the means are of those that go on.

    `last` are means of the runs over each one's own last steps, and `ends` the first and last step at which one ends.
    """
    longest = max(map(len, runs))
    width = _width(longest)
    ends = [int(run[-1]["step"]) for run in runs]
    made: dict[str, Any] = {"point": point, "arm": arm, "runs": len(runs), "ends": [min(ends), max(ends)], "steps": []}
    for start in range(0, longest, width):
        rows = [row for run in runs for row in run[start : start + width]]
        made["steps"].append(max(int(row["step"]) for row in rows))
        for name, value in _means([rows]).items():
            made.setdefault(name, []).append(value)
    return {**made, "last": _means([run[(len(run) - 1) // _width(len(run)) * _width(len(run)) :] for run in runs])}


def _width(length: int) -> int:
    """Steps in one point of a curve."""
    return -(-length // POINTS)


def _means(parts: Sequence[Run]) -> dict[str, float]:
    """The mean of each of CURVES over parts that count the same, each the mean of its steps, to five digits."""
    made = {}
    for name in CURVES:
        values = [[row[name] for row in part if name in row] for part in parts]
        means = [sum(of) / len(of) for of in values if of]
        if means:
            made[name] = float(f"{sum(means) / len(means):.5g}")
    return made


def one_draw(cells: Sequence[Cell]) -> list[str]:
    """Arms with two training runs or more at a point, all of which learn from the same data: what they say holds for
    these data. An arm that trains nothing has one run."""
    data, runs = defaultdict(set), defaultdict(set)
    for cell in cells:
        trained = last_training(cell)
        if trained:
            place = cell.arm, point_of(cell.values)
            data[place].add(str(trained.settings["data"]["train"]))
            runs[place].add(trained.folder)
    return list(dict.fromkeys(place[0] for place in data if len(data[place]) == 1 < len(runs[place])))


def cost(cells: Sequence[Cell], published: Published) -> dict[str, Any]:
    """Seconds that the stages took, all together, on which machines, and how many of the stages are trainings."""
    stages = unique(cells).values()
    done = [(stage, told) for stage in stages if (told := took(stage, published))]
    return {
        "stages": len(done),
        "seconds": round(sum(told["seconds"] for _, told in done)),
        "machine": " and ".join(sorted({str(told["machine"]) for _, told in done})),
        "trainings": sum(stage.kind.trains for stage, _ in done),
    }


def codes(cells: Sequence[Cell], published: Published) -> dict[str, int]:
    """How many stages were done by which code; "" for those of which it is not known."""
    found = Counter(str(told.get("code", "")) for stage in unique(cells).values() if (told := took(stage, published)))
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def dtypes(cells: Sequence[Cell], published: Published) -> dict[str, int]:
    """How many cells are measured on answers of a model in each dtype; those of a server are in none."""
    found: Counter[str] = Counter()
    for cell in cells:
        told = (told_of(stage, published).get("dtype") for stage in _answering(cell))
        found.update({str(dtype) for dtype in told if dtype})
    return dict(sorted(found.items()))


def _answering(cell: Cell) -> list[Stage]:
    """The stages whose answers a cell is measured on: its own, or those that its verdicts are about."""
    measured = [stage for stage in cell.stages if stage is cell.answers or stage.name in cell.answers.after]
    return [stage for stage in measured if stage.kind.command == ("generate",)]
