"""The report of `jpo winrate` for people: the same sections on a terminal, in Markdown, and as a page."""

import html
from collections.abc import Iterator
from typing import Any

from rich.table import Table

from jpo_dist.winrate.rates import LEFT_OUT
from launcher.show import html as pages
from launcher.show import sections as forms
from launcher.show.sections import Section, interval, percent
from launcher.show.sections import p_value as _p

ON_A_RUN_PAGE = ("Win rate", "Controls", "Other models")
"""Titles of the sections that MLflow's page of a run has too; the first is always there."""


def sections(report: dict[str, Any]) -> list[Section]:
    """All of the report, in the order in which it is read. Every rate has the number that it is a rate of."""
    made = [_rates(report), _counts(report), _controls(report), _lengths(report)]
    made += [_order(report)] if report["order"] else []
    made += [_compared(report)] if report["compare"] else []
    made += [_alpaca(report["alpaca_eval"])] if "alpaca_eval" in report else []
    usage = [[name.replace("_", " "), f"{value:g}"] for name, value in report.get("usage", {}).items()]
    made += (
        [Section("Cost", ["", ""], usage, ["Of all replies behind this report, the controls' among them."])]
        if usage
        else []
    )
    return [*made, _inputs(report)]


def _rates(report: dict[str, Any]) -> Section:
    parts = [("all", report["all"])]
    parts += [(f"temperature {name}", part) for name, part in report["by_temperature"].items()]
    if len(report["by_run"]) > 1:
        parts += [(f"run {number}", part) for number, part in enumerate(report["by_run"].values(), 1)]
    for name, by_value in report["groups"].items():
        parts += [(f"{name} {value}", part) for value, part in by_value.items()]
    head = ["", "win rate", "95 % interval", "of", "win", "tie", "loss", "out", "answers"]
    rows = [
        [
            name, percent(part["win_rate"]), interval(part["interval"]), str(part["judged"]),
            *(str(part[key]) for key in ("win", "tie", "loss")), str(part["answers"] - part["judged"]),
            str(part["answers"]),
        ]
        for name, part in parts
    ]  # fmt: skip
    notes = [
        "Win rate = (wins + ties / 2) / of; out: answers without a verdict, in no rate.",
        f"Interval: {report['all']['interval_method']}.",
    ]
    for name, by_value in report["groups"].items():
        if left := report["all"]["answers"] - sum(part["answers"] for part in by_value.values()):
            notes.append(f"{left} answers are to an instruction without a value of {name}.")
    return Section("Win rate", head, rows, notes)


def _counts(report: dict[str, Any]) -> Section:
    found = report["all"]
    rows = [["with a verdict", str(found["judged"])]]
    rows += [[f"left out: {name}", str(found[name])] for name in LEFT_OUT if found[name]]
    rows += [["together: answers", str(found["answers"])]]
    notes = [f"{found['equal_texts']} answers equal their opponent's text: ties, without asking."]
    notes.append(f"{report['unanswered']} texts of the other side have no answer; they are in no count.")
    notes.append(
        f"Answers that were cut off: {report['rules']['unfinished'].replace('_', ' ')}. "
        f"Empty ones: {report['rules']['empty'].replace('_', ' ')}."
    )
    notes += [f"{reason}: {count}" for reason, count in report.get("reasons", {}).items()]
    return Section("What became of the answers", ["", "answers"], rows, notes)


def _controls(report: dict[str, Any]) -> Section:
    constant, longest = report["controls"]["constant"], report["controls"]["longest"]
    rows = [
        ["a constant answer", percent(constant["win_rate"]), interval(constant["interval"]), str(constant["judged"])],
        ["the longer text always wins", percent(longest["win_rate"]), "-", str(longest["of"])],
    ]
    notes = [
        f"The constant answer, {constant['answer']!r}, was judged on {constant['answers']} of "
        f"{constant['of_instructions']} instructions. A judge that likes it tells little.",
    ]
    return Section("Controls", ["", "win rate", "95 % interval", "of"], rows, notes)


def _lengths(report: dict[str, Any]) -> Section:
    found, controlled = report["lengths"], report["length_controlled"]
    longer = found["longer_wins"]
    rows = [
        ["mean characters, ours and theirs", _both(found, "mean"), str(found["answers"])],
        ["median", _both(found, "median"), str(found["answers"])],
        ["ours is longer; shorter", f"{found['longer']}; {found['shorter']}", str(found["answers"])],
        ["the longer one wins", percent(longer["rate"]), str(longer["of"])],
    ]  # fmt: skip
    if controlled["refused"]:
        return Section("Length", ["", "", "of"], rows, [f"No length-controlled win rate: {controlled['refused']}."])
    value = f"{percent(controlled['win_rate'])} {interval(controlled['interval'])}"
    rows.append(["win rate at equal length", value, str(controlled["answers"])])
    return Section(
        "Length",
        ["", "", "of"],
        rows,
        [f"At equal length: our own model, not AlpacaEval's. Its interval: {controlled['interval_method']}."],
    )


def _order(report: dict[str, Any]) -> Section:
    found = report["order"]
    of = str(found["comparisons"])
    rows = [
        ["the first shown answer wins", percent(found["first_rate"]), interval(found["interval"]), of],
        ["the two orders disagree (a tie)", percent(found["flip_rate"]), "-", of],
    ]
    for name, by_value in report.get("order_by_group", {}).items():
        rows += [
            [f"{name} {value}: the first wins", percent(part["first_rate"]), interval(part["interval"]),
             str(part["comparisons"])]
            for value, part in by_value.items()
        ]  # fmt: skip
    return Section("Order", ["", "rate", "95 % interval", "of"], rows, ["Without a bias the first wins in 50.0 %."])


def _compared(report: dict[str, Any]) -> Section:
    head = ["other model", "win rate", "of", "ours - theirs", "95 % interval", "pairs", "p", "Holm"]
    rows = [
        [
            other["path"], percent(other["all"]["win_rate"]), str(other["all"]["judged"]),
            percent(other["minus"]["difference"], "+"), interval(other["minus"]["interval"], "+"),
            str(other["minus"]["instructions"]), _p(other["minus"]["p_value"]), _p(other["minus"]["p_holm"]),
        ]
        for other in report["compare"]
    ]  # fmt: skip
    notes = ["Differences in points, paired by instruction; p: McNemar's exact test; Holm: adjusted for all of them."]
    return Section("Other models", head, rows, notes)


def _alpaca(found: dict[str, Any]) -> Section:
    error = "-" if found["standard_error"] is None else f"{found['standard_error']:.4f}"
    value = "-" if found["win_rate"] is None else f"{found['win_rate']:.4f}"
    rows = [["AlpacaEval's annotations", value, error, str(found["judged"]), str(found["not_parsed"])]]
    note = (
        []
        if found["is_original_set"]
        else ["This is not its original set of 805: its length-controlled figure would be wrong."]
    )
    return Section("AlpacaEval", ["", "win rate", "standard error", "of", "not parsed"], rows, note)


def _inputs(report: dict[str, Any]) -> Section:
    sides = [("answers", side) for side in report["answers"]] + [("against", report["against"])]
    sides += [("compare", side) for side in report["compare"]]
    rows = [
        [kind, side["path"], str(side["texts"]), (side["digest"] or "-")[:12], ", ".join(side["models"])[:40]]
        for kind, side in sides
    ]
    against = report["against"]
    notes = [f"Judge: {report['judge']['kind']}, {report['judge']['annotator']}."]
    if against["not_used"]:
        notes.append(f"{against['not_used']} gold responses beyond the first to their instruction were not used.")
    notes += [f"{count} responses of the gold file are no gold: {why}." for why, count in against["no_gold"].items()]
    if against["lowest_score"]:
        notes.append(f"{against['lowest_score']} gold responses have the lowest score of their file: are they good?")
    notes += [f"{count} rows of the gold file skipped: {reason}" for reason, count in against["skipped"].items()]
    notes += [f"Gold of {origin}." for origin in against["read"]]
    return Section("Inputs", ["", "path", "texts", "digest", "model"], rows, notes)


# ---- renderings


def terminal(report: dict[str, Any]) -> Iterator[Table | str]:
    """Each section as a table and its notes as lines, for a terminal."""
    return forms.terminal(sections(report))


def markdown(report: dict[str, Any]) -> str:
    """All sections as Markdown."""
    return forms.markdown(_title(report), sections(report))


def page(report: dict[str, Any]) -> str:
    """All sections as one HTML page, with a picture of the rates and their intervals."""
    found = sections(report)
    return pages.framed(_title(report), "\n".join([_picture(found[0], report), *map(forms.as_html, found)]))


def _title(report: dict[str, Any]) -> str:
    names = ", ".join(side["path"] for side in report["answers"])
    return f"Win rate of {names} against {report['against']['path']}"


_LEFT, _WIDTH, _STEP = 220, 480, 26


def _picture(rates: Section, report: dict[str, Any]) -> str:
    """Every rate as a dot with its interval as a line, 0 to 100 %, as SVG."""
    found = [report["all"], *report["by_temperature"].values()]
    found += list(report["by_run"].values()) if len(report["by_run"]) > 1 else []
    found += [part for by_value in report["groups"].values() for part in by_value.values()]
    height = _STEP * (len(found) + 1)
    marks = [
        f'<line x1="{_x(at)}" y1="0" x2="{_x(at)}" y2="{height - _STEP}" stroke="#ddd"/>'
        f'<text x="{_x(at)}" y="{height - 8}" text-anchor="middle" font-size="12">{at:.0%}</text>'
        for at in (0, 0.25, 0.5, 0.75, 1)
    ]
    for number, (row, part) in enumerate(zip(rates.rows, found, strict=True)):
        y = _STEP * number + _STEP // 2
        marks.append(
            f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end" font-size="13">{html.escape(row[0][-32:])}</text>'
        )
        if part["interval"] is not None:
            low, high = part["interval"]
            marks.append(f'<line x1="{_x(low)}" y1="{y}" x2="{_x(high)}" y2="{y}" stroke="#2b6cb0" stroke-width="2"/>')
        if part["win_rate"] is not None:
            marks.append(f'<circle cx="{_x(part["win_rate"])}" cy="{y}" r="4" fill="#2b6cb0"/>')
    size = f'width="{_LEFT + _WIDTH + 30}" height="{height}"'
    return f'<svg role="img" aria-label="win rates" xmlns="http://www.w3.org/2000/svg" {size}>{"".join(marks)}</svg>'


def _x(rate: float) -> str:
    return f"{_LEFT + _WIDTH * rate:.1f}"


def _both(found: dict[str, Any], name: str) -> str:
    ends = found[name], found[f"other_{name}"]
    return " and ".join("-" if value is None else f"{value:.0f}" for value in ends)
