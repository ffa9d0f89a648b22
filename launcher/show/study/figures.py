"""The pictures of a study's report. None where matplotlib is missing."""

from pathlib import Path
from typing import Any

from launcher.show.study.words import name

WIDE = 8
"""An axis whose ends differ by this factor or more is logarithmic."""


def figures(report: dict[str, Any], folder: Path) -> list[Path]:
    """arms.png; curve.png where a grid has one numeric axis; kl.png and margins.png where they were measured."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    axis, made = _axis(report), []
    if report["arms"]:
        made.append(_save(_dots(Figure, report), folder / "arms.png"))
    if axis:
        made.append(_save(_curves(Figure, report, axis), folder / "curve.png"))
    if any("kl" in arm["metrics"] for arm in report["arms"]):
        made.append(_save(_frontier(Figure, report), folder / "kl.png"))
    if report["curves"]:
        made.append(_save(_margins(Figure, report), folder / "margins.png"))
    return made


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=100, bbox_inches="tight", metadata={"Software": None})  # the same figures, the same bytes
    return path


def _axes(figure: Any, x: str, y: str, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    axes = figure.add_subplot(*place)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _dots(figure_of: Any, report: dict[str, Any]) -> Any:
    """Each arm's primary metric as a dot with its interval, and its runs as small marks."""
    arms = [arm for arm in report["arms"] if report["primary"] in arm["metrics"]]
    figure = figure_of(figsize=(7, 0.6 + 0.36 * len(arms)))
    axes = _axes(figure, f"{name(report['primary'])} (dot: mean, line: 95 % interval, marks: training runs)", "")
    for row, arm in enumerate(reversed(arms)):
        found = arm["metrics"][report["primary"]]
        runs = [value for value in found["by_seed"] if value is not None]
        axes.plot(runs, [row] * len(runs), "|", color="#9ab", markersize=9)
        if found["interval"]:
            axes.plot(found["interval"], [row, row], "-", color="#2b6cb0", linewidth=2)
        if found["value"] is not None:
            axes.plot([found["value"]], [row], "o", color="#2b6cb0")
    names = [" ".join(filter(None, [arm["arm"], arm["point"]])) for arm in reversed(arms)]
    axes.set_yticks(range(len(arms)), names)
    return figure


def _axis(report: dict[str, Any]) -> str | None:
    """The name of the only grid axis, where its values are numbers and there are several."""
    points = sorted({arm["point"] for arm in report["arms"]})
    names = {point.partition("=")[0] for point in points}
    if len(points) < 2 or len(names) != 1 or any("," in point for point in points):
        return None
    try:
        [_number(point) for point in points]
    except ValueError:
        return None
    return names.pop()


def _number(point: str) -> float:
    return float(point.partition("=")[2])


def _curves(figure_of: Any, report: dict[str, Any], axis: str) -> Any:
    """The primary metric over the numeric axis, a line an arm, with its intervals."""
    figure = figure_of(figsize=(7, 4))
    axes = _axes(figure, axis, name(report["primary"]))
    xs = {_number(arm["point"]) for arm in report["arms"]}
    log = min(xs) > 0 and max(xs) / min(xs) >= WIDE
    names = list(dict.fromkeys(arm["arm"] for arm in report["arms"]))
    for at, arm_name in enumerate(names):
        points = sorted(
            (_number(arm["point"]), arm["metrics"][report["primary"]])
            for arm in report["arms"]
            if arm["arm"] == arm_name and arm["metrics"].get(report["primary"], {}).get("value") is not None
        )
        aside = 1.02 ** (at - len(names) / 2) if log else 1.0  # intervals of arms stand side by side
        line = axes.plot([x * aside for x, _ in points], [found["value"] for _, found in points], "o-", label=arm_name)
        for x, found in points:
            if found["interval"]:
                axes.plot([x * aside] * 2, found["interval"], color=line[0].get_color(), alpha=0.5)
    if log:
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(xs), [f"{x:g}" for x in sorted(xs)])
        axes.minorticks_off()
    axes.legend(frameon=False)
    return figure


def _frontier(figure_of: Any, report: dict[str, Any]) -> Any:
    """The primary metric over the sampled KL: how much is gained for how far from the reference, a line an arm."""
    figure = figure_of(figsize=(7, 4))
    axes = _axes(figure, "sampled KL from the reference, nats", name(report["primary"]))
    for arm_name in dict.fromkeys(arm["arm"] for arm in report["arms"]):
        found = [
            (arm["metrics"]["kl"]["value"], arm["metrics"][report["primary"]]["value"], arm["point"])
            for arm in report["arms"]
            if arm["arm"] == arm_name
            and all(arm["metrics"].get(one, {}).get("value") is not None for one in ("kl", report["primary"]))
        ]
        if not found:
            continue
        axes.plot([x for x, _, _ in found], [y for _, y, _ in found], "o-" if len(found) > 1 else "o", label=arm_name)
        for x, y, point in found:
            axes.annotate(point, (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7, color="#666")
    axes.legend(frameon=False)
    return figure


def _margins(figure_of: Any, report: dict[str, Any]) -> Any:
    """Both parts of the margin over training, a line an arm; of a grid its last point."""
    last = report["curves"][-1]["point"]
    figure = figure_of(figsize=(7, 3.2))
    for place, part in enumerate(("instruction", "response"), 1):
        axes = _axes(figure, "step", f"margin, {part} (nats)", (1, 2, place))
        for one in report["curves"]:
            if one["point"] == last and f"margin/{part}" in one:
                axes.plot(one["steps"], one[f"margin/{part}"], label=one["arm"])
        axes.axhline(0, color="#ccc", linewidth=0.8, zorder=0)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"at {last}" if last else "", fontsize=9)
    figure.tight_layout()
    return figure
