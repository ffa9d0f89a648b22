"""Results for people: tables of an evaluation, and of a model before and after."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from jpo_dist.tracking.metrics_file import IN_WORDS


def evaluation_tables(path: Path) -> list[Table]:
    """The tables of the file that `jpo evaluate` writes, with 95 % intervals: by protocol, by stratum, by group,
    calibration."""
    result = json.loads(path.read_text(encoding="utf-8"))
    tables = [evaluation_table(result), strata_table(result)]
    tables += [groups_table(name, found) for name, found in result.get("groups", {}).items()]
    return [*tables, calibration_table(result)] if result["calibration"] else tables  # none: all are ties


def evaluation_table(result: dict[str, Any]) -> Table:
    """Metrics by protocol, and pass-rates."""
    table = Table(
        title=f"held-out comparisons, {Path(result['policy']).name}", caption="brackets: 95 % bootstrap interval"
    )
    table.add_column("")
    for name, values in result["comparisons"].items():
        ties = f", of these {values['ties']} ties" if values.get("ties") else ""
        table.add_column(f"{name} ({values['comparisons']}{ties})", justify="right")
    for label, metric, form in IN_WORDS:
        parts = result["comparisons"].values()
        cells = [_with_interval(values[metric], form) if metric in values else "all ties" for values in parts]
        table.add_row(label, *cells)
    if "pass_rate" in result:
        rate = result["pass_rate"]
        table.add_section()
        table.add_row(f"constraint pass-rate ({rate['answers']} answers)", _with_interval(rate["rate"], "{:.3f}"))
        table.add_row("answers that come to an end", f"{rate['finished']:.3f}")
    return table


def strata_table(result: dict[str, Any]) -> Table:
    """Accuracy and margin by similarity of the instructions and by difference in length."""
    table = Table(title="by what was compared", caption="brackets: 95 %, accuracy by Wilson, margin by bootstrap")
    for name in ("", "comparisons", "accuracy", "margin (beta z)"):
        table.add_column(name, justify="right" if name else "left")
    if isinstance(result["similarity"], str):
        table.add_row(f"similarity of instructions: {result['similarity']}")
    else:
        for row in result["similarity"]:
            table.add_row(f"cosine of joint instructions {row['from']:g} to {row['to']:g}", *_cells(row))
    table.add_section()
    for row in result["length"]:
        table.add_row(f"winner's response longer by {_span(row)} tokens", *_cells(row))
    return table


def _span(row: dict[str, Any]) -> str:
    low, high = row["from"], row["to"]
    if low is None or high is None:
        return f"{high} or less" if low is None else f"{low} or more"
    return f"{low}" if low == high else f"{low} to {high}"


def _cells(row: dict[str, Any]) -> list[str]:
    accuracy = _with_interval(row["rewards/accuracies"], "{:.3f}")
    return [str(row["comparisons"]), accuracy, _with_interval(row["rewards/margins"], "{:+.3f}")]


def groups_table(name: str, found: dict[str, Any]) -> Table:
    """Accuracy and margin by one thing that is known of who judged."""
    table = Table(title=f"who judged: {escape(name)}")
    table.caption = "; ".join(["brackets: 95 %, accuracy by Wilson, margin by bootstrap", *left_of(found)])
    for column in (escape(name), "comparisons", "accuracy", "margin (beta z)"):
        table.add_column(column, justify="right" if len(table.columns) else "left")
    for row in found["values"]:
        table.add_row(escape(row["value"]), *_cells(row))
    return table


def left_of(found: dict[str, Any]) -> list[str]:
    """What of a group's comparisons has no row."""
    more, missing = found["more_values"], found["no_value"]
    return ([f"no value {missing}"] if missing else []) + ([f"{more} more values"] if more else [])


def calibration_table(result: dict[str, Any]) -> Table:
    """Confidence of the policy against how often the item that it favors is the annotated winner."""
    whole = result["calibration"]["all"]
    table = Table(title="calibration of sigma(beta z)")
    brier = _with_interval(whole["brier"], "{:.3f}")
    table.caption = f"ECE {whole['ece']:.3f}, Brier {brier}; {result['ties_apart']} annotated ties are apart"
    for name in ("confidence", "comparisons", "mean", "observed"):
        table.add_column(name, justify="right" if name != "confidence" else "left")
    for row in whole["bins"]:
        observed = _with_interval(row["observed"], "{:.3f}")
        table.add_row(
            f"{row['from']:g} to {row['to']:g}", str(row["comparisons"]), f"{row['confidence']:.3f}", observed
        )
    return table


def _with_interval(values: list[float], form: str) -> str:
    mean, low, high = (form.format(value) for value in values)
    return f"{mean} [{low}, {high}]"


def score_lines(path: Path) -> list[str]:
    """The report that `jpo score` writes, as lines: counts that add up, then margins by protocol."""
    report = json.loads(path.read_text(encoding="utf-8"))
    items, comparisons = report["items"], report["comparisons"]
    skipped = sum(report["read"]["skipped"].values())
    lines = [
        f"{items['items']} items: {items['scored']} scored ({items['cut']} cut), {items['over_long']} over-long; "
        f"{skipped} bad rows skipped",
        f"{comparisons['comparisons']} comparisons: {comparisons['scored']} decided, {comparisons['ties']} ties, "
        f"{comparisons['over_long']} with an over-long item",
    ]
    if items.get("without_end"):
        lines.append(f"{items['without_end']} items are answers that were cut off: no end is scored in them")
    if "refused" in items:
        lines.append(f"the chat template refuses {items['refused']} items, in {comparisons['refused']} comparisons")
    lines += [f"chat template: {note}" for note in report.get("template_notes", [])]
    for name, values in report["margins"].items():
        accuracy, z = (_with_interval(values[key], form) for key, form in (("accuracy", "{:.3f}"), ("z", "{:+.2f}")))
        lines.append(f"  {name} ({values['comparisons']}): accuracy {accuracy}, margin z {z} nats")
    for name, found in report.get("groups", {}).items():
        lines += [_group_line(name, row) for row in found["values"]]
        lines += [f"  {name}: {words}" for words in left_of(found)]
    return lines


def _group_line(name: str, row: dict[str, Any]) -> str:
    accuracy = _with_interval(row["rewards/accuracies"], "{:.3f}")
    margin = _with_interval(row["rewards/margins"], "{:+.3f}")
    return f"  {name} {row['value']} ({row['comparisons']}): accuracy {accuracy}, margin beta z {margin}"


def before_after_table(before: dict[str, float], after: dict[str, float], rates: tuple[Any, Any]) -> Table:
    """A table of the first and last `eval/` metrics of a run, and of the pass-rates before and after."""
    table = Table(title="held-out, before -> after")
    table.add_column("")
    protocols = [name for name in ("conditional", "joint") if f"eval/{name}/loss" in after]
    for name in protocols:
        table.add_column(name, justify="right")
    for label, metric, form in IN_WORDS:
        keys = [f"eval/{name}/{metric}" for name in protocols]
        untrained = metric == "rewards/accuracies" and not any(before[f"eval/{n}/rewards/margins"] for n in protocols)
        first = "all ties" if untrained else None  # policy and reference are the same model: z is 0 everywhere
        table.add_row(label, *(f"{first or form.format(before[key])} -> {form.format(after[key])}" for key in keys))
    table.add_section()
    old, new = rates
    table.add_row(
        f"constraint pass-rate, {new['answers']} answers", f"{old['rate'][0]:.3f} -> {new['rate'][0]:.3f}", style="bold"
    )
    table.add_row("answers that come to an end", f"{old['finished']:.3f} -> {new['finished']:.3f}")
    return table


def answers_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Answers before and after, of jpo_dist.evaluate.pass_rate.side_by_side."""
    table = Table(title="answers to held-out instructions", show_lines=True)
    for name in ("instruction", "before", "after"):
        table.add_column(name, ratio=1, overflow="fold")
    for row in rows:
        table.add_row(
            row["instruction"], *(_verdict(row[f"answer {when}"], row[f"met {when}"]) for when in ("before", "after"))
        )
    return table


def _verdict(answer: str, met: str) -> str:
    mark = "[green]meets the constraint[/]" if met == "yes" else "[red]does not meet it[/]"
    return f"{answer.replace('[', chr(92) + '[')}\n{mark}"
