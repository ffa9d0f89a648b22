"""`jpo data inspect` on a terminal: the numbers of `jpo_dist.records.inspection` as tables."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jpo_dist.data.layouts import NAMES
from jpo_dist.data.layouts.page import described
from jpo_dist.data.read_report import TableColumns, column_lines
from jpo_dist.records.comparisons import Message
from jpo_dist.records.text import LINES, as_text
from jpo_dist.redact import visible
from launcher.show.inspection.shortcuts import shortcuts
from launcher.show.text_of_others import shown

ROWS_SHOWN, BAR = 12, 24


def tables(inspection: Mapping[str, Any]) -> list[RenderableType]:
    """What rich prints, in order; nothing of an item is taken for markup or for a control sequence."""
    found: list[RenderableType] = [overview(inspection)]
    found += [skipped_table(inspection)] if inspection["skipped"] or inspection["bad_rows"] else []
    columns = columns_read(inspection)
    found += [Text("\n".join(["columns", *(visible(line) for line in columns), ""]))] if columns else []
    found += [counts_table(inspection[key], title) for key, title in COUNTED if inspection[key]]
    found += [groups_table(name, group) for name, group in inspection["groups"].items()]
    found += [lengths_table(inspection), bias_table(inspection)]
    found += [histogram_table(title, histogram) for title, histogram in histograms(inspection)]
    found += [example(row, number) for number, row in enumerate(inspection["examples"], 1)]
    return found


def columns_read(inspection: Mapping[str, Any]) -> list[str]:
    """Files that were not read; which layout each other one has, which of its columns were read, and which were not and
    why."""
    return [f"  not read: {name}" for name in inspection["ignored"]] + column_lines(
        [TableColumns(**table) for table in inspection["tables"]]
    )


COUNTED = (
    ("by_source", "source"),
    ("by_origin", "origin of the preference"),
    ("by_pairing", "pairing policy"),
    ("by_split", "split"),
    ("by_annotator", "annotator"),
)


def facts(inspection: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Single numbers with their names, the first lines of table and page; what is wrong says so."""
    comparisons, degree, same = inspection["comparisons"], inspection["degree"], inspection["same_response"]
    lines = [
        *((f"layout {name}", _layout(name, files)) for name, files in inspection["layouts"].items()),
        ("rows read", count(inspection["rows"])),
        ("comparisons, conditional", count(comparisons["conditional"])),
        ("comparisons, joint", count(comparisons["joint"])),
        ("ties", count(inspection["ties"])),
        ("rows skipped", count(sum(inspection["skipped"].values()))),
        ("items", count(inspection["items"])),
        ("instructions", count(inspection["instructions"])),
    ]
    optional = (("responses", "responses read"), ("duplicates", "duplicate responses, dropped"))
    lines += [(name, count(inspection[key])) for key, name in optional if inspection[key]]
    ratio = inspection["items_per_comparison"]
    lines += [("items per comparison", "–" if ratio is None else f"{ratio:.2f}")]
    lines += [
        ("comparisons that repeat an earlier one", count(inspection["repeated"])),
        ("comparisons another one contradicts", count(inspection["contradictions"])),
        ("items that only win / only lose", f"{count(degree['only_wins'])} / {count(degree['only_losses'])}"),
        ("items in no comparison", count(degree["unused"])),
        ("items whose response another instruction has too", count(same["items"])),
        ("responses equal but for case and space", count(same["nearly_equal"])),
    ]
    for pair, shared in inspection["split_overlap"].items():
        lines.append((f"instructions in both {pair}", f"{count(shared)}{' (must be 0)' if shared else ''}"))
    for name, found in inspection["split_inside"].items():
        said = f"{count(found)}{' (must be 0)' if found else ''}"
        lines.append((f"responses of {name} that are a turn of an instruction of train", said))
    lines += shortcuts(inspection) + template_facts(inspection.get("template"))
    for key in ("weight", "confidence"):
        if inspection[key]["count"] and inspection[key]["min"] != inspection[key]["max"]:
            values = inspection[key]
            lines.append(
                (f"{key}: least, median, most", " · ".join(f"{values[at]:.3g}" for at in ("min", "median", "max")))
            )
    return lines


def _layout(name: str, files: int) -> str:
    """In how many files a layout was found, and which side its label means."""
    means = "; ".join(described(name)[0].means) if name in NAMES else ""
    return " · ".join([f"{count(files)} file{'s' if files > 1 else ''}", *([means] if means else [])])


def template_facts(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """What a look at the tokenizer's chat template found."""
    if not found:
        return []
    lines = [("chat template: items looked at", count(found["looked_at"]))]
    for one in found["differences"]:
        texts = f"; the template writes {one['template']!r}, training {one['training']!r}" if one["template"] else ""
        lines.append((f"chat template: {one['says']}", f"{count(one['items'])}, first {one['source']}{texts}"))
    for one in found["refused"]:
        shape = f"{one['source']}, one of {count(one['items'])} items of this shape"
        lines.append(("chat template: refused", f"{shape}: {one['reason']}"))
    return lines + ([("chat template: what to do", found["fix"])] if found["fix"] else [])


def count(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")  # a narrow space: 12,345 is twelve to half the world


def overview(inspection: Mapping[str, Any]) -> Table:
    table = _table("comparisons", "", "")
    table.show_header = False
    for name, value in facts(inspection):
        table.add_row(Text(name), Text(value, style="bold red" if "must be 0" in value else ""))
    return table


def skipped_table(inspection: Mapping[str, Any]) -> RenderableType:
    table = _table("skipped rows", "reason", "rows")
    for reason, number in sorted(inspection["skipped"].items(), key=lambda kv: (-kv[1], kv[0])):
        table.add_row(shown(reason), count(number))
    if not inspection["bad_rows"]:
        return table
    where = _table("the first of them", "file", "line", "field", "reason")
    for column in where.columns[2:]:
        column.justify = "left"
    for bad in inspection["bad_rows"]:
        where.add_row(*(shown(bad.get(key, "")) for key in ("file", "line", "field", "reason")))
    return Group(table, where)


def counts_table(counts: Mapping[str, Mapping[str, int]], title: str) -> Table:
    table = _table(f"by {title}", title, "conditional", "joint", "ties")
    for name, row in list(counts.items())[:ROWS_SHOWN]:
        table.add_row(shown(name), *(count(row[kind]) for kind in ("conditional", "joint", "ties")))
    rest = list(counts.values())[ROWS_SHOWN:]
    if rest:
        sums = [sum(row[kind] for row in rest) for kind in ("conditional", "joint", "ties")]
        table.add_row(f"and {count(len(rest))} more", *map(count, sums))
    return table


GROUP_HEAD = ("comparisons", "share of ties", "agree within", "agree with others")


def group_rows(group: Mapping[str, Any]) -> list[list[str]]:
    """A row for each of the most frequent values, under its name and GROUP_HEAD, and one for all comparisons that have
    a value."""
    rows = [
        [row["value"], count(row["comparisons"]), interval(row["tie_share"]), _agreement(row["within"]),
         _agreement(row["with_others"])]
        for row in group["values"][:ROWS_SHOWN]
    ]  # fmt: skip
    return [*rows, ["all together", "", "", _agreement(group["agreement"]), ""]]


def _agreement(found: Mapping[str, Any]) -> str:
    return f"{interval(found['agree'])} of {count(found['of'])}" if found["of"] else "–"


def group_notes(group: Mapping[str, Any]) -> str:
    """What the numbers are of, and what has no row."""
    more = group["more_values"] + max(0, len(group["values"]) - ROWS_SHOWN)
    parts = ["agree: of pairs of judgments on the same two items by two annotators; brackets: Wilson's 95 % interval"]
    parts += [f"{count(more)} values have no row here"] if more else []
    parts += [f"{count(group['no_value'])} comparisons have no value"] if group["no_value"] else []
    return "; ".join(parts)


def groups_table(name: str, group: Mapping[str, Any]) -> Table:
    title = escape(visible(name))
    table = _table(f"who judged: {title}", title, *GROUP_HEAD)
    for row in group_rows(group):
        table.add_row(*map(shown, row))
    table.caption = group_notes(group)
    return table


QUANTILES = ("min", "p05", "median", "mean", "p95", "p99", "max")


def lengths_table(inspection: Mapping[str, Any]) -> Table:
    lengths = inspection["lengths"]
    table = _table(f"{lengths['unit']} in an item", "", *QUANTILES)
    for part in ("instruction", "response"):
        values = lengths[part]
        table.add_row(part, *(count(round(values[at])) if values["count"] else "–" for at in QUANTILES))
    return table


def bias_table(inspection: Mapping[str, Any]) -> Table:
    table = _table("response of the winner is …", "", "decided", "longer", "equal", "shorter", "longer of unequal")
    table.caption = "in brackets: Wilson's 95 % interval; 0.5 inside it: no sign of a bias"
    for name, bias in inspection["length_bias"].items():
        shares = [share(bias[kind]) for kind in ("longer", "equal", "shorter")]
        table.add_row(name, count(bias["decided"]), *shares, interval(bias["longer_of_unequal"]))
    return table


def share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def interval(values: list[float] | None) -> str:
    return "–" if values is None else f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]"


def histograms(inspection: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Title and histogram of everything that has one, without the empty ones."""
    lengths, degree = inspection["lengths"], inspection["degree"]
    found = [(f"{lengths['unit']} in the {part} of an item", lengths[part]) for part in ("instruction", "response")]
    found += [("comparisons per item", degree), ("wins minus losses per item", degree["wins_minus_losses"])]
    found += [(f"scores, {name}", values) for name, values in inspection["scores"]["scales"].items()]
    return [(title, values["histogram"]) for title, values in found if values["histogram"]["counts"]]


def histogram_table(title: str, histogram: Mapping[str, Any]) -> Table:
    table = _table(title, "from", "to", "items", "")
    most = max(histogram["counts"])
    for name, number in zip(bins(histogram), histogram["counts"], strict=True):
        # A bin with anything in it shows at least a sliver.
        eighths = max(round(number / most * BAR * 8), 1) if number else 0
        bar = "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
        table.add_row(*name, count(number), Text(bar, style="cyan"))
    for column in table.columns[:3]:
        column.justify = "right"
    table.columns[3].justify = "left"
    return table


def bins(histogram: Mapping[str, Any]) -> list[tuple[str, str]]:
    """First and last value of each bin; of bins over fractions the two edges."""
    edges = histogram["edges"]
    whole = all(float(edge).is_integer() for edge in edges)
    if not whole:
        return [(f"{low:.3g}", f"{high:.3g}") for low, high in pairwise(edges)]
    pairs = [(round(low), round(high) - 1) for low, high in pairwise(edges)]
    return [(f"{low}", f"{high}" if high > low else "") for low, high in pairs]


def example(row: Mapping[str, Any], number: int) -> Table:
    """Winner and loser side by side, with what else the record says below."""
    title = f"example {number}: {row['protocol']}{', a tie' if row['tie'] else ''}"
    table = Table(title=title, box=box.SIMPLE_HEAD, expand=True, title_justify="left", caption_justify="left")
    for name in ("first", "second") if row["tie"] else ("winner", "loser"):
        table.add_column(name, ratio=1, overflow="fold")
    table.add_row(*(shown(conversation(row[side]["instruction"]), style="dim") for side in ("winner", "loser")))
    table.add_section()
    table.add_row(*(shown(row[side]["response"]) for side in ("winner", "loser")))
    table.caption = shown(about(row), style="dim")
    return table


def about(row: Mapping[str, Any]) -> str:
    """Where an example comes from; only what the record has."""
    parts = [f"{key} {row[key]}" for key in ("source", "origin", "pairing", "annotator", "split") if row.get(key)]
    parts += [f"{group['name']} {group['value']}" for group in row.get("groups") or ()]
    parts += [f"weight {row['weight']:.3g}"] if row["weight"] != 1 else []
    parts += [f"confidence {row['confidence']:.3g}"] if row["confidence"] is not None else []
    scores = [row[side].get("score") for side in ("winner", "loser")]
    parts += ["scores " + " and ".join(f"{score:.3g}" for score in scores)] if None not in scores else []
    return " · ".join(parts)


def conversation(instruction: list[Mapping[str, str]]) -> str:
    """An instruction as the inspection holds it, as text."""
    return as_text([Message(**turn) for turn in instruction], LINES)


def _table(title: str, *columns: str) -> Table:
    """First column left, numbers right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    return table
