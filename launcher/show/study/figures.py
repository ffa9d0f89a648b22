"""The pictures of a study's report. None where matplotlib is missing."""

from pathlib import Path
from typing import Any

from launcher.show.plots import axes_of, figure_class, save
from launcher.show.study.words import name, once

WIDE = 8
"""An axis whose ends differ by this factor or more is logarithmic."""


def figures(report: dict[str, Any], folder: Path) -> list[Path]:
    """arms.png; curve.png and gap.png where the last name of the grid is a number; kl.png and margins.png where these
    were measured."""
    figure_of = figure_class()
    if figure_of is None:
        return []
    axis, made = _axis(report), []
    if report["arms"]:
        made.append(save(_dots(figure_of, report), folder / "arms.png"))
    if axis:
        made.append(save(_curves(figure_of, report, axis), folder / "curve.png"))
        if report["comparisons"]:
            made.append(save(_gaps(figure_of, report, axis), folder / "gap.png"))
    if any("kl" in arm["metrics"] for arm in report["arms"]):
        made.append(save(_frontier(figure_of, report), folder / "kl.png"))
    if report["curves"]:
        made.append(save(_margins(figure_of, report), folder / "margins.png"))
    return made


def _dots(figure_of: Any, report: dict[str, Any]) -> Any:
    """Each arm's primary metric as a dot with its interval, and its runs as small marks."""
    arms = [arm for arm in once(report["arms"]) if report["primary"] in arm["metrics"]]
    figure = figure_of(figsize=(7, 0.6 + 0.36 * len(arms)))
    axes = axes_of(figure, f"{name(report['primary'])} (dot: mean, line: 95 % interval, marks: training runs)", "")
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
    """The last name of the grid, where its values are numbers and there are several."""
    places = [_place(arm["point"]) for arm in report["arms"]]
    names = {axis for _, axis, _ in places}
    numbers = {number for _, _, number in places}
    return names.pop() if len(names) == 1 and None not in numbers and len(numbers) > 1 else None


def _place(point: str) -> tuple[str, str, float | None]:
    """What a point says beside its last value, the name of that, and the value; None where it is no number."""
    rest, _, last = point.rpartition(", ")
    axis, _, value = last.partition("=")
    try:
        return rest, axis, float(value)
    except ValueError:
        return rest, axis, None


def _panels(figure_of: Any, report: dict[str, Any], x: str, y: str) -> tuple[Any, dict[str, Any]]:
    """A figure with axes for each combination of the grid's other values."""
    groups = list(dict.fromkeys(_place(arm["point"])[0] for arm in report["arms"]))
    figure = figure_of(figsize=(max(7, 3.4 * len(groups)), 4))
    axes: dict[str, Any] = {}
    for at, group in enumerate(groups, 1):
        axes[group] = axes_of(figure, x, y if at == 1 else "", (1, len(groups), at))
        axes[group].set_title(group, fontsize=9)
        if at > 1:
            axes[group].sharey(axes[groups[0]])
            axes[group].tick_params(labelleft=False)
    return figure, axes


def _spread(axes: Any, xs: set[float]) -> bool:
    """Make a wide axis logarithmic. Returns whether it is."""
    log = min(xs) > 0 and max(xs) / min(xs) >= WIDE
    if log:
        axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(xs), [f"{x:g}" for x in sorted(xs)])
    axes.minorticks_off()
    return log


def _lines(axes: Any, named: dict[str, list[tuple[float, float, list[float] | None]]]) -> None:
    """A line for each name, with intervals; those of different names stand side by side."""
    log = _spread(axes, {x for points in named.values() for x, _, _ in points})
    for at, (label, points) in enumerate(named.items()):
        aside = 1.02 ** (at - len(named) / 2) if log else 1.0
        line = axes.plot([x * aside for x, _, _ in points], [y for _, y, _ in points], "o-", label=label, markersize=4)
        for x, _, ends in points:
            if ends:
                axes.plot([x * aside] * 2, ends, color=line[0].get_color(), alpha=0.5)


def _curves(figure_of: Any, report: dict[str, Any], axis: str) -> Any:
    """The primary metric over the last value of the grid, a line an arm, with its intervals."""
    figure, panels = _panels(figure_of, report, axis, name(report["primary"]))
    for group, axes in panels.items():
        named: dict[str, list[tuple[float, float, list[float] | None]]] = {}
        for arm in report["arms"]:
            rest, _, x = _place(arm["point"])
            found = arm["metrics"].get(report["primary"])
            if rest == group and x is not None and found and found["value"] is not None:
                named.setdefault(arm["arm"], []).append((x, found["value"], found["interval"]))
        if named:
            _lines(axes, {label: sorted(points) for label, points in named.items()})
    next(iter(panels.values())).legend(frameon=False)
    return figure


def _gaps(figure_of: Any, report: dict[str, Any], axis: str) -> Any:
    """Each asked difference over the last value of the grid, with its intervals."""
    figure, panels = _panels(figure_of, report, axis, f"difference on {name(report['primary'])}")
    for group, axes in panels.items():
        named: dict[str, list[tuple[float, float, list[float] | None]]] = {}
        for one in report["comparisons"]:
            rest, _, x = _place(one["point"])
            if rest == group and x is not None and one["difference"] is not None:
                label = f"{one['first']} - {one['second']}"
                named.setdefault(label, []).append((x, one["difference"], one["interval"]))
        if named:
            _lines(axes, {label: sorted(points) for label, points in named.items()})
            axes.legend(frameon=False, fontsize=8)
        axes.axhline(0, color="#ccc", linewidth=0.8, zorder=0)
    return figure


def _frontier(figure_of: Any, report: dict[str, Any]) -> Any:
    """The primary metric over the sampled KL: how much is gained for how far from the reference, a line an arm."""
    axis = next((axis for _, axis, _ in (_place(arm["point"]) for arm in report["arms"]) if axis), "")
    x = "sampled KL from the reference, nats" + (f"; at each dot its {axis}" if axis else "")
    figure, panels = _panels(figure_of, report, x, name(report["primary"]))
    for group, axes in panels.items():
        named: dict[str, list[tuple[float, float, str]]] = {}
        for arm in report["arms"]:
            rest, label = _place(arm["point"])[0], arm["point"].rpartition("=")[2]
            kl, found = (arm["metrics"].get(metric, {}).get("value") for metric in ("kl", report["primary"]))
            if rest == group and kl is not None and found is not None:
                named.setdefault(arm["arm"], []).append((kl, found, label))
        for label, points in named.items():
            xs, ys, _ = zip(*points, strict=True)
            axes.plot(xs, ys, "o-" if len(points) > 1 else "o", label=label, markersize=4)
            for place_x, place_y, text in points:
                axes.annotate(
                    text, (place_x, place_y), textcoords="offset points", xytext=(4, 4), fontsize=7, color="#666"
                )
    next(iter(panels.values())).legend(frameon=False)
    return figure


def _margins(figure_of: Any, report: dict[str, Any]) -> Any:
    """Both parts of the margin over training, a line an arm; of a grid its last point."""
    last = report["curves"][-1]["point"]
    figure = figure_of(figsize=(7, 3.2))
    for place, part in enumerate(("instruction", "response"), 1):
        axes = axes_of(figure, "step", f"margin, {part} (nats)", (1, 2, place))
        for one in report["curves"]:
            if one["point"] == last and f"margin/{part}" in one:
                axes.plot(one["steps"], one[f"margin/{part}"], label=one["arm"])
        axes.axhline(0, color="#ccc", linewidth=0.8, zorder=0)
    axes.legend(frameon=False, fontsize=8)
    figure.suptitle(f"at {last}" if last else "", fontsize=9)
    figure.tight_layout()
    return figure
