"""The judge's report for people: figures, and one HTML page that needs no other file."""

import base64
import html
import io
from pathlib import Path
from typing import Any

from jpo_dist.files import replace
from jpo_dist.judge.report import OUTCOMES
from launcher.show.html import framed, table
from launcher.show.sections import interval, percent

COLORS = {"decided": "#2b6cb0", "tie": "#b7791f", "unparsable": "#9b2c2c", "failed": "#555555", "not asked": "#cccccc"}
RATES = ("decided_rate", "tie_rate", "unparsable_rate")


def figures(report: dict[str, Any]) -> dict[str, Any]:
    """matplotlib Figures by name. No display is needed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the judge's figures need matplotlib; pip install 'jpo-dist[judge]'") from None
    drawn = {"outcomes": _outcomes, "position": _position, "similarity": _similarity, "interplay": _interplay}
    made = {name: Figure(figsize=(7, 3), layout="constrained") for name in drawn}
    for name, draw in drawn.items():
        draw(made[name].subplots(), report)
    return made


def _outcomes(axes: Any, report: dict[str, Any]) -> None:
    names = list(report["by_protocol"])
    left = [0] * len(names)
    for outcome in OUTCOMES:
        counts = [report["by_protocol"][name][outcome] for name in names]
        axes.barh(names, counts, left=left, color=COLORS[outcome], label=outcome)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    axes.set_xlabel("candidates")
    axes.legend(fontsize="small")


def _position(axes: Any, report: dict[str, Any]) -> None:
    place = report["position"]
    decided = place["comparisons"] - place["always_first"] - place["always_second"]
    bars = axes.bar(
        ["always the first", "the same item", "always the second"],
        [place["always_first"], decided, place["always_second"]],
        color=[COLORS["tie"], COLORS["decided"], COLORS["tie"]],
    )
    axes.bar_label(bars, fontsize="small")
    axes.set(ylabel="comparisons", xlabel="which answer wins in the two orders")


def _similarity(axes: Any, report: dict[str, Any]) -> None:
    rows = [row for row in report["similarity"] if row["decisiveness"] is not None]
    names = ["equal" if row["from"] == row["to"] else f"{row['from']:g}-{row['to']:g}" for row in rows]
    bars = axes.bar(names, [row["decisiveness"] for row in rows], color=COLORS["decided"])
    axes.bar_label(bars, [str(row["decided"] + row["tie"]) for row in rows], fontsize="small")
    axes.set(ylim=(0, 1.1), xlabel="TF-IDF cosine of the two instructions", ylabel="decided / (decided + tie)")


def _interplay(axes: Any, report: dict[str, Any]) -> None:
    rows = {name: row for name, row in report["interplay"].items() if row["decisiveness"] is not None}
    bars = axes.bar(list(rows), [row["decisiveness"] for row in rows.values()], color=COLORS["decided"])
    axes.bar_label(bars, [str(row["decided"] + row["tie"]) for row in rows.values()], fontsize="small")
    axes.set(ylim=(0, 1.1), ylabel="decided / (decided + tie)")


def page(report: dict[str, Any]) -> str:
    """The report as HTML: tables, figures as embedded images, no script, nothing loaded from elsewhere."""
    place, cycles = report["position"], report["transitivity"]
    outcomes = [
        [name, *(_text(found[outcome]) for outcome in OUTCOMES), *(_text(found[rate]) for rate in RATES)]
        for name, found in [*report["by_protocol"].items(), ("all", report["outcomes"])]
    ]
    similarity = [
        [f"{r['protocol']} {r['from']:g}-{r['to']:g}", *(_text(r[k]) for k in ("decided", "tie", "decisiveness"))]
        for r in report["similarity"]
    ]
    interplay = [
        [name, *(_text(row.get(key)) for key in ("decided", "tie", "decisiveness", "chosen_wins_rate"))]
        for name, row in report["interplay"].items()
    ]
    interval = "" if place["interval"] is None else " (95 % interval {:.3f} to {:.3f})".format(*place["interval"])
    parts = [
        table(["protocol", *OUTCOMES, *(rate.replace("_", " ") for rate in RATES)], outcomes),
        "{outcomes}",
        f"<h2>Position</h2><p>The first answer wins {_text(place['first_rate'])} of the time{interval}; one half is no "
        f"bias. Always the first: {place['always_first']}, always the second: {place['always_second']}, of "
        f"{place['comparisons']} comparisons.</p>",
        "{position}" if place["comparisons"] else "",
        "<h2>Decisiveness by similarity of the instructions</h2>",
        table(["bin", "decided", "tie", "decisiveness"], similarity),
        "{similarity}",
        "<h2>Joint verdicts by conditional verdicts on the same items</h2>",
        table(["roles", "decided", "tie", "decisiveness", "chosen wins"], interplay),
        "{interplay}",
        f"<h2>Transitivity</h2><p>{cycles['cyclic']} of {cycles['triads']} closed triads are cycles "
        f"({_text(cycles['cyclic_rate'])}).</p>",
        *_groups(report),
        *_usage(report),
    ]
    images = {f"{{{name}}}": _image(figure, name) for name, figure in figures(report).items()}
    title = f"Judge: {report['annotator']}, {report['candidates']} candidates"
    return framed(title, "\n".join(images.get(part, part) for part in parts))


def write_page(report: dict[str, Any], path: Path) -> None:
    replace(path, page(report), sync=False)


def write_figures(report: dict[str, Any], folder: Path) -> list[Path]:
    """NAME.png for each figure, for MLflow, which shows images by themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures(report).items():
        replace(folder / f"{name}.png", _png(figure), sync=False)
    return sorted(folder.glob("*.png"))


def _groups(report: dict[str, Any]) -> list[str]:
    """A table for each group of the candidates. Intervals are Wilson's of ties, and the normal one of first places."""
    parts = []
    for name, group in report.get("groups", {}).items():
        rows = [
            [row["value"], *(str(row[key]) for key in ("candidates", *OUTCOMES)), _share(row["tie_share"]),
             _share([row["position"]["first_rate"], *(row["position"]["interval"] or ())])]
            for row in group["values"]
        ]  # fmt: skip
        head = [name, "candidates", *OUTCOMES, "ties of verdicts", "the first wins"]
        parts += [f"<h2>By {html.escape(name)}</h2>", table(head, rows)]
        more, without = group["more_values"], group["no_value"]
        notes = f"<p>{more} more values have no row; {without} candidates have no value.</p>"
        parts += [notes] if more + without else []
    return parts


def _share(found: list[Any] | None) -> str:
    """`12.5 % [3.1, 30.2]`, or `-` without a rate."""
    return "-" if not found or found[0] is None else f"{percent(found[0])} {interval(found[1:])}"


def _usage(report: dict[str, Any]) -> list[str]:
    if "usage" not in report:
        return []
    return ["<h2>Cost</h2>", table(["", ""], [[name, _text(value)] for name, value in report["usage"].items()])]


def _text(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def _image(figure: Any, name: str) -> str:
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(_png(figure)).decode()}">'


def _png(figure: Any) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, metadata={"Software": None})  # no version: equal reports, equal bytes
    return data.getvalue()
