"""The report of `jpo study`: an answer in words first, then the tables and pictures that it rests on."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jpo_dist.folders import together
from launcher.show import html as pages
from launcher.show import sections as forms
from launcher.show.sections import Section, interval, p_value, percent

RATES = ("pass", "finished", "pass_of_finished", "win", "score")
FEW = 5
"""Under so many training runs an interval says little of other runs."""


def write(report: dict[str, Any], folder: Path) -> list[Path]:
    """Write report.md, report.html and the figures of the report to `folder`. Returns their paths."""
    with together(folder) as files:
        figures = _figures(report, files.folder)
        found = sections(report)
        title = f"Study {report['study']}"
        files.write("report.md", forms.markdown(title, found) + _linked(figures))
        body = [*map(forms.as_html, found[:2]), *map(_embedded, figures), *map(forms.as_html, found[2:])]
        files.write("report.html", pages.framed(title, "\n".join(body)))
    return [folder / name for name in ("report.md", "report.html", *(figure.name for figure in figures))]


def sections(report: dict[str, Any]) -> list[Section]:
    """All of the report, in the order in which it is read."""
    made = [Section("Answer", [], [], answers(report)), _arms(report), _comparisons(report)]
    made += [_tuned(report)] if report["tuned"] else []
    return [*made, _asked(report)]


# ---- the answer


def answers(report: dict[str, Any]) -> list[str]:
    """What may be said of each asked difference, a sentence each; and what stands in the way of saying more."""
    lines = [_sentence(one, report) for one in report["comparisons"]] or ["No two arms were asked to be compared."]
    runs = min((len(one["seeds"]) for one in report["comparisons"]), default=0)
    if report["comparisons"] and runs < FEW:
        lines.append(
            f"This rests on {runs} training {'run' if runs == 1 else 'runs'} an arm; {FEW} are the least to go by."
        )
    if report["failed"]:
        lines.append(f"{len(report['failed'])} cells failed and are in no figure: {', '.join(report['failed'])}.")
    for change in report["asked"]["changes"]:
        lines.append(
            f"The question was changed on {change['at']} ({', '.join(change['settings'])}), when {change['after']} "
            "cells had been measured: figures that were looked at before are no test of it."
        )
    return lines


def _sentence(one: dict[str, Any], report: dict[str, Any]) -> str:
    at = f" at {one['point']}" if one["point"] else ""
    if one["difference"] is None:
        return f"{one['first']} and {one['second']}{at} cannot be compared: {one['method']}."
    difference = _signed(one["metric"], one["difference"])
    ends = _ends(one["metric"], one["interval"], "+")
    facts = f"{difference} {ends} on {one['metric']}, {len(one['seeds'])} runs"
    if one["p_value"] is None:
        return f"{one['first']} minus {one['second']}{at}: {facts}, which says nothing of other training runs."
    facts += f", p = {p_value(one['p_holm'])} after Holm"
    margin = _signed(one["metric"], report["margin"], "")
    said = {
        "higher": f"{one['first']} is higher than {one['second']}{at}: {facts}.",
        "lower": f"{one['first']} is lower than {one['second']}{at}: {facts}.",
        "equivalent": (
            f"{one['first']} and {one['second']}{at} differ by less than {margin}, "
            f"the margin said beforehand (p = {p_value(one['p_equivalent'])}): {facts}."
        ),
        "undecided": (
            f"Between {one['first']} and {one['second']}{at} no difference is shown, and none within {margin} either: "
            f"{facts}."
        ),
    }
    return said[one["reading"]]


def _signed(metric: str, value: float, sign: str = "+") -> str:
    return f"{100 * value:{sign}.1f} points" if metric in RATES else f"{value:{sign}.2f}"


def _value(metric: str, value: float | None) -> str:
    if metric in RATES:
        return percent(value)
    return "-" if value is None else f"{value:.2f}"


def _ends(metric: str, ends: Sequence[float] | None, sign: str = "") -> str:
    if metric in RATES:
        return interval(ends, sign)
    return "-" if ends is None else f"[{ends[0]:{sign}.2f}, {ends[1]:{sign}.2f}]"


# ---- tables


def _arms(report: dict[str, Any]) -> Section:
    metrics = sorted({name for arm in report["arms"] for name in arm["metrics"]}, key=lambda n: n != report["primary"])
    points = any(arm["point"] for arm in report["arms"])
    head = [*(["at"] if points else []), "arm", "runs"]
    for name in metrics:
        head += [name.replace("_", " "), "95 % interval"]
    rows = []
    for arm in report["arms"]:
        row = [*([arm["point"]] if points else []), arm["arm"], str(len(arm["seeds"]))]
        for name in metrics:
            figure = arm["metrics"].get(name, {"value": None, "interval": None})
            row += [_value(name, figure["value"]), _ends(name, figure["interval"])]
        rows.append(row)
    of = sorted(
        {arm["metrics"][report["primary"]]["answers"] for arm in report["arms"] if report["primary"] in arm["metrics"]}
    )
    methods = sorted({figure["method"] for arm in report["arms"] for figure in arm["metrics"].values()})
    notes = [
        f"{report['primary']} is the primary metric; of {' or '.join(map(str, of)) or 'no'} answers an arm.",
        f"Intervals: {'; '.join(methods) or 'none'}.",
    ]
    return Section("Arms", head, rows, notes)


def _comparisons(report: dict[str, Any]) -> Section:
    head = ["first - second", "at", "runs", report["primary"].replace("_", " "), "95 % interval", "p (Holm)",
            "p (equivalent)", "reading"]  # fmt: skip
    rows = [
        [
            f"{one['first']} - {one['second']}", one["point"] or "-", str(len(one["seeds"])),
            "-" if one["difference"] is None else _signed(one["metric"], one["difference"]),
            _ends(one["metric"], one["interval"], "+"), p_value(one["p_holm"]), p_value(one["p_equivalent"]),
            one["reading"],
        ]
        for one in report["comparisons"]
    ]  # fmt: skip
    notes = [
        "Paired by instruction and seed. Reading: higher or lower with p (Holm) under .05; else equivalent where the "
        f"90 % interval lies within {_signed(report['primary'], report['margin'], '')} of 0; else undecided."
    ]
    return Section("Differences", head, rows, notes)


def _tuned(report: dict[str, Any]) -> Section:
    names = sorted({name for trial in report["tuned"] for name in trial["settings"]})
    best: dict[str, float] = {}
    for trial in report["tuned"]:
        best[trial["arm"]] = max(best.get(trial["arm"], float("-inf")), trial["value"])
    taken: set[str] = set()
    rows = []
    for trial in report["tuned"]:
        is_best = trial["value"] == best[trial["arm"]] and trial["arm"] not in taken
        taken |= {trial["arm"]} if is_best else set()
        settings = [f"{trial['settings'][name]}" if name in trial["settings"] else "-" for name in names]
        rows.append([trial["arm"], *settings, _value(report["primary"], trial["value"]), "chosen" if is_best else ""])
    return Section(
        "Settings, chosen on other instructions",
        ["arm", *names, report["primary"], ""],
        rows,
        ["The same trials for every arm that has the setting; the highest is chosen, the first of equal ones."],
    )


def _asked(report: dict[str, Any]) -> Section:
    asked = report["asked"]
    question = asked["question"]
    pairs = ", ".join(f"{first} - {second}" for first, second in question["compare"]) or "none"
    rows = [
        ["first asked", asked["at"]],
        ["primary metric", question["primary"]],
        ["compared", pairs],
        ["margin of equivalence", _signed(question["primary"], question["margin"], "")],
        ["checker", question["checker"] or "-"],
        ["changes since", str(len(asked["changes"])) if asked["changes"] else "none"],
    ]
    return Section("What was asked beforehand", ["", ""], rows, [])


# ---- pictures


def _figures(report: dict[str, Any], folder: Path) -> list[Path]:
    """arms.png, and curve.png where a grid has one numeric axis. None where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return []
    made = [_save(_dots(Figure, report), folder / "arms.png")] if report["arms"] else []
    axis = _axis(report)
    return made + ([_save(_curves(Figure, report, axis), folder / "curve.png")] if axis else [])


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=120, bbox_inches="tight", metadata={"Software": None})  # the same figures, the same bytes
    return path


def _dots(figure_of: Any, report: dict[str, Any]) -> Any:
    """Each arm's primary metric as a dot with its interval, and its runs as small marks."""
    arms = [arm for arm in report["arms"] if report["primary"] in arm["metrics"]]
    figure = figure_of(figsize=(7, 0.6 + 0.42 * len(arms)))
    axes = figure.add_subplot()
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
    axes.set_xlabel(f"{report['primary'].replace('_', ' ')} (dot: mean, line: 95 % interval, marks: training runs)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _axis(report: dict[str, Any]) -> str | None:
    """The name of the only grid axis, where its values are numbers and there are several."""
    points = sorted({arm["point"] for arm in report["arms"]})
    names = {point.partition("=")[0] for point in points}
    if len(points) < 2 or len(names) != 1 or any("," in point for point in points):
        return None
    try:
        [float(point.partition("=")[2]) for point in points]
    except ValueError:
        return None
    return names.pop()


def _curves(figure_of: Any, report: dict[str, Any], axis: str) -> Any:
    """The primary metric over the numeric axis, a line an arm, with its intervals."""
    figure = figure_of(figsize=(7, 4))
    axes = figure.add_subplot()
    for name in dict.fromkeys(arm["arm"] for arm in report["arms"]):
        points = sorted(
            (float(arm["point"].partition("=")[2]), arm["metrics"][report["primary"]])
            for arm in report["arms"]
            if arm["arm"] == name and arm["metrics"].get(report["primary"], {}).get("value") is not None
        )
        line = axes.plot([x for x, _ in points], [figure["value"] for _, figure in points], "o-", label=name)[0]
        for x, found in points:
            if found["interval"]:
                axes.plot([x, x], found["interval"], color=line.get_color(), alpha=0.5)
    axes.set_xlabel(axis)
    axes.set_ylabel(report["primary"].replace("_", " "))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _embedded(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{data}"></p>'


def _linked(figures: Sequence[Path]) -> str:
    return "".join(f"\n![{path.stem}]({path.name})\n" for path in figures)
