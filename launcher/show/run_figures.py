"""The pictures of a run in MLflow: what training did to margins and speed, and what an evaluation found by stratum."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.show.plots import axes_of, figure_class, save

LEAST_STEPS = 10
"""A curve of fewer steps is no picture: MLflow's own charts show them."""
MOST_POINTS = 2000
_RANK = "perf/rank_tokens_per_second/"
_CURVES = {
    "rewards.png": ("reward, beta (log pi - log ref)", ("rewards/chosen", "rewards/rejected"), ("winners", "losers")),
    "margin_parts.png": (
        "part of the margin (nats)", ("margin/instruction", "margin/response"), ("instruction", "response"),
    ),
}  # fmt: skip


def training_figures(rows: Sequence[Mapping[str, float]], folder: Path) -> list[Path]:
    """Pictures of the lines of metrics.jsonl, each with its `step`: rewards.png, margin_parts.png, rank_speed.png,
    those of them whose metrics are there. None for a short run, or without matplotlib."""
    figure_of = figure_class() if len(rows) >= LEAST_STEPS else None
    if figure_of is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for file, (label, names, words) in _CURVES.items():
        shown = {word: _curve(rows, name) for word, name in zip(words, names, strict=True)}
        held_out = {f"{word}, held out": _curve(rows, f"eval/{name}") for word, name in zip(words, names, strict=True)}
        if all(shown.values()):
            made.append(save(_lines(figure_of, label, shown, held_out), folder / file))
    ranks = sorted({name for row in rows for name in row if name.startswith(_RANK)}, key=_number)
    speeds = {f"rank {name.removeprefix(_RANK)}": _curve(rows, name) for name in ranks}
    if speeds:
        made.append(save(_lines(figure_of, "tokens a second of work", speeds, {}), folder / "rank_speed.png"))
    return made


def _number(name: str) -> tuple[int, str]:
    last = name.removeprefix(_RANK)
    return (int(last) if last.isdigit() else 0, last)


def _curve(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    points = [(row["step"], row[name]) for row in rows if name in row]
    return points[:: -(-len(points) // MOST_POINTS)] if points else []


def _lines(figure_of: Any, label: str, lines: Mapping[str, Any], marked: Mapping[str, Any]) -> Any:
    """A figure with a line for each name, and marks with dots in the same colors."""
    figure = figure_of(figsize=(7, 4))
    axes = axes_of(figure, "step", label)
    for at, (word, points) in enumerate(lines.items()):
        axes.plot(*zip(*points, strict=True), color=f"C{at}", linewidth=1, label=word)
    for at, (word, points) in enumerate(marked.items()):
        if points:
            axes.plot(*zip(*points, strict=True), "o--", color=f"C{at}", markersize=4, label=word)
    axes.axhline(0, color="#ccc", linewidth=0.8, zorder=0)
    axes.legend(frameon=False, fontsize=8, ncols=1 + len(lines) // 16)
    return figure


def evaluation_figures(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Pictures of evaluation.json: accuracy by similarity.png and by length.png, calibration.png, those of them that
    have strata. None without matplotlib."""
    figure_of = figure_class()
    if figure_of is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    if not isinstance(report["similarity"], str) and report["similarity"]:
        names = [f"{row['from']:g} to {row['to']:g}" for row in report["similarity"]]
        figure = _strata(figure_of, "cosine of the two instructions", names, report["similarity"])
        made.append(save(figure, folder / "similarity.png"))
    if report["length"]:
        names = [_span(row["from"], row["to"]) for row in report["length"]]
        figure = _strata(figure_of, "tokens that the winner's response is longer", names, report["length"])
        made.append(save(figure, folder / "length.png"))
    if report["calibration"]:
        made.append(save(_calibration(figure_of, report["calibration"]["all"]["bins"]), folder / "calibration.png"))
    return made


def _span(low: int | None, high: int | None) -> str:
    if low is None or high is None:
        return f"{high} or less" if low is None else f"{low} or more"
    return f"{low}" if low == high else f"{low} to {high}"


def _strata(figure_of: Any, label: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Any:
    """Accuracy with its interval in each stratum, and how many comparisons it has."""
    figure = figure_of(figsize=(7, 3.6))
    axes = axes_of(figure, label, "accuracy (line: 95 % interval)")
    for at, row in enumerate(rows):
        value, low, high = row["rewards/accuracies"]
        axes.plot([at, at], [low, high], color="#2b6cb0", linewidth=2)
        axes.plot([at], [value], "o", color="#2b6cb0")
    axes.axhline(0.5, color="#ccc", linewidth=0.8, zorder=0)
    axes.set_ylim(-0.03, 1.03)
    axes.set_xticks(
        range(len(rows)), [f"{name}\nn={row['comparisons']}" for name, row in zip(names, rows, strict=True)]
    )
    return figure


def _calibration(figure_of: Any, bins: Sequence[Mapping[str, Any]]) -> Any:
    """How often the item that the policy favors is the winner, against how sure the policy is."""
    figure = figure_of(figsize=(5, 4.4))
    axes = axes_of(figure, "confidence, sigma(|beta z|)", "share where the winner is favored (line: 95 % interval)")
    axes.plot([0.5, 1], [0.5, 1], color="#ccc", linewidth=0.8, zorder=0)
    for row in bins:
        value, low, high = row["observed"]
        axes.plot([row["confidence"]] * 2, [low, high], color="#2b6cb0", linewidth=2)
        axes.plot([row["confidence"]], [value], "o", color="#2b6cb0")
    axes.set_ylim(-0.03, 1.03)
    return figure
