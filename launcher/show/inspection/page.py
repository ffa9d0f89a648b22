"""`jpo data inspect --html FILE`: the numbers of `jpo_dist.records.inspection` as one page that needs nothing else.

No scripts, no fonts, no addresses: a policy in the page forbids the browser to load anything. The plots are drawn by
matplotlib as SVG inside the page, their colours are the page's, so that they follow light and dark.
"""

import io
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from jpo_dist.redact import visible
from launcher.show.inspection.tables import (
    COUNTED,
    GROUP_HEAD,
    QUANTILES,
    ROWS_SHOWN,
    about,
    bins,
    columns_read,
    conversation,
    count,
    facts,
    group_notes,
    group_rows,
    histograms,
    interval,
    share,
)
from launcher.show.text_of_others import shorten

# Colours matplotlib writes into the SVG, and what stands there in the page.
_PAINT = {"#010101": "var(--ink)", "#020202": "var(--faint)", "#030303": "var(--bar)", "#040404": "var(--bar2)"}
_INK, _FAINT, _BAR, _BAR2 = _PAINT

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #fff; --ink: #23262b; --faint: #6a7079; --line: #dcd9d0;
        --bar: #2f6f8f; --bar2: #c9732b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --card: #1e2126; --ink: #e6e4df; --faint: #9aa1ab; --line: #353a42;
          --bar: #6fb4d6; --bar2: #e59a5b; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
p { margin: .25rem 0; color: var(--faint); }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem; }
.card, figure { margin: 0; padding: .9rem 1rem; background: var(--card); border: 1px solid var(--line);
                border-radius: .5rem; min-width: 0; }
.scroll { overflow-x: auto; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.facts div { padding: .6rem .8rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.facts dt { color: var(--faint); font-size: .8rem; line-height: 1.3; }
.facts dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption, figcaption { text-align: left; font-weight: 600; font-size: .9rem; padding-bottom: .4rem; }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
         font-variant-numeric: tabular-nums; white-space: nowrap; }
th { color: var(--faint); font-weight: 500; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
td:first-child { min-width: 6rem; white-space: normal; overflow-wrap: anywhere; }
tr > :last-child { padding-right: 0; } tbody tr:last-child td { border-bottom: 0; }
svg { width: 100%; height: auto; display: block; } svg text { font-family: inherit !important; }
.example { margin-bottom: 1rem; } .sides { display: grid; gap: 1.25rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
.side { min-width: 0; } .side h4 { margin: 0 0 .4rem; font-size: .85rem; color: var(--faint); font-weight: 600; }
.side .won { color: var(--bar); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; unicode-bidi: isolate; color: var(--ink); }
.instruction { color: var(--faint); border-left: 3px solid var(--line); padding-left: .7rem; margin-bottom: .6rem; }
.example h3 { font-size: .95rem; margin: 0 0 .6rem; } .example > p { margin-top: .7rem; font-size: .8rem;
  overflow-wrap: anywhere; }
""".strip()

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(inspection: Mapping[str, Any], title: str = "Comparisons") -> str:
    """The page as text, the same for the same numbers. Raises ValueError when matplotlib is missing."""
    parts = [
        f"<h1>{_words(title)}</h1>",
        f"<p>{_words(_sentence(inspection))}</p>",
        _facts(inspection),
        *_skipped(inspection),
        *_columns(inspection),
        "<h2>Where they come from</h2>",
        f'<div class="grid">{"".join(_counted(inspection))}</div>',
        *_groups(inspection),
        "<h2>Lengths</h2>",
        f'<div class="grid">{_lengths(inspection)}{_bias(inspection)}{_bias_plot(inspection)}</div>',
        "<h2>Distributions</h2>",
        f'<div class="grid">{"".join(_histogram(*found) for found in histograms(inspection))}</div>',
        *_examples(inspection),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{_words(title)}</title><style>\n{STYLE}\n</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _words(text: Any) -> str:
    """Text of others: nothing in it is HTML, and marks that reorder text are spelled out."""
    return escape(visible(str(text)))


def _sentence(inspection: Mapping[str, Any]) -> str:
    comparisons, ties = inspection["comparisons"], inspection["ties"]
    return (
        f"{count(sum(comparisons.values()))} decided comparisons ({count(comparisons['conditional'])} conditional, "
        f"{count(comparisons['joint'])} joint) and {count(ties)} {'tie' if ties == 1 else 'ties'} among "
        f"{count(inspection['items'])} items with {count(inspection['instructions'])} different instructions."
    )


def _facts(inspection: Mapping[str, Any]) -> str:
    cells = []
    for name, value in facts(inspection):
        bad = ' class="bad"' if "must be 0" in value else ""
        cells.append(f"<div><dt>{_words(name)}</dt><dd{bad}>{_words(value)}</dd></div>")
    return f'<dl class="facts">{"".join(cells)}</dl>'


def _table(caption: str, header: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "numbers") -> str:
    """A card with a table; the cells are text, not HTML."""
    head = "".join(f'<th scope="col">{_words(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_words(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="{kind}"><caption>{_words(caption)}</caption>'
    return f'<div class="card scroll">{table}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _skipped(inspection: Mapping[str, Any]) -> list[str]:
    if not inspection["skipped"] and not inspection["bad_rows"]:
        return []
    reasons = sorted(inspection["skipped"].items(), key=lambda kv: (-kv[1], kv[0]))
    tables = [_table("Skipped rows by reason", ("reason", "rows"), [(name, count(n)) for name, n in reasons])]
    keys = ("file", "line", "field", "reason")
    rows = [[str(bad.get(key, "")) for key in keys] for bad in inspection["bad_rows"]]
    tables += [_table("The first of them", keys, rows, "words")] if rows else []
    return ["<h2>Skipped</h2>", f'<div class="grid">{"".join(tables)}</div>']


def _columns(inspection: Mapping[str, Any]) -> list[str]:
    lines = columns_read(inspection)
    return ["<h2>Columns</h2>", f'<pre class="card scroll">{_words(chr(10).join(lines))}</pre>'] if lines else []


def _counted(inspection: Mapping[str, Any]) -> list[str]:
    kinds = ("conditional", "joint", "ties")
    tables = []
    for key, title in COUNTED:
        rows = [(name, *(count(row[kind]) for kind in kinds)) for name, row in inspection[key].items()]
        rest = list(inspection[key].values())[ROWS_SHOWN:]
        more = [(f"and {count(len(rest))} more", *(count(sum(row[k] for row in rest)) for k in kinds))] if rest else []
        if rows:
            tables.append(_table(f"By {title}", ("", *kinds), rows[:ROWS_SHOWN] + more))
    return tables


def _groups(inspection: Mapping[str, Any]) -> list[str]:
    cards = [
        f"{_table(f'Who judged: {name}', ('', *GROUP_HEAD), group_rows(group))}<p>{_words(group_notes(group))}</p>"
        for name, group in inspection["groups"].items()
    ]
    return ["<h2>Who judged</h2>", *cards] if cards else []


def _lengths(inspection: Mapping[str, Any]) -> str:
    lengths, parts = inspection["lengths"], ("instruction", "response")
    rows = [(at, *(count(round(lengths[p][at])) if lengths[p]["count"] else "–" for p in parts)) for at in QUANTILES]
    return _table(f"{lengths['unit'].capitalize()} in an item", ("", *parts), rows)


def _bias(inspection: Mapping[str, Any]) -> str:
    parts = inspection["length_bias"]
    rows = [("decided", *(count(bias["decided"]) for bias in parts.values()))]
    rows += [(kind, *(share(bias[kind]) for bias in parts.values())) for kind in ("longer", "equal", "shorter")]
    intervals = [bias["longer_of_unequal"] for bias in parts.values()]
    for at, name in enumerate(("longer of unequal", "95 % from", "95 % to")):  # one line would not fit a phone
        rows.append((name, *(share(found and found[at]) for found in intervals)))
    return _table("The winner's response, against the loser's", ("", *parts), rows)


def _bias_plot(inspection: Mapping[str, Any]) -> str:
    """How often the longer response wins, with its interval, against a coin's half."""
    found = [(name, bias["longer_of_unequal"]) for name, bias in inspection["length_bias"].items()]
    found = [(name, values) for name, values in found if values]
    if not found:
        return ""

    def draw(axes: Any) -> None:
        for at, (_, (middle, low, high)) in enumerate(found):
            axes.plot([low, high], [at, at], color=_BAR2, linewidth=3, solid_capstyle="round")
            axes.plot([middle], [at], "o", color=_BAR2, markersize=7)
        axes.axvline(0.5, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlim=(0, 1), ylim=(len(found) - 0.4, -0.6), xlabel="share of comparisons won by the longer response")
        axes.set_yticks(range(len(found)), [name for name, _ in found])

    said = "; ".join(f"{name} {interval(values)}" for name, values in found)
    return _figure("Does the longer response win?", f"Share won by the longer response: {said}. Half: no bias.", draw)


def _histogram(title: str, histogram: Mapping[str, Any]) -> str:
    counts, names = histogram["counts"], bins(histogram)

    def draw(axes: Any) -> None:
        axes.bar(range(len(counts)), counts, width=0.86, color=_BAR)
        every = -(-len(counts) // 10)
        ticks = range(0, len(counts), every)
        axes.set_xticks(ticks, [names[at][0] for at in ticks])
        axes.set(
            ylabel="items", xlabel=f"{title.split(' in ')[0].split(', ')[0]}, from …", xlim=(-0.6, len(counts) - 0.4)
        )
        axes.yaxis.set_major_locator(_whole_numbers())

    most = max(range(len(counts)), key=counts.__getitem__)
    span = " to ".join(part for part in names[most] if part)
    said = f"Histogram of {sum(counts)} items from {names[0][0]} to {names[-1][1] or names[-1][0]}; most, "
    return _figure(title[0].upper() + title[1:], f"{said}{counts[most]}, have {span}.", draw)


def _whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, integer=True)


def _figure(title: str, description: str, draw: Any) -> str:
    """A captioned card with a plot that `draw` puts on the axes; `description` is for those who cannot see it."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("plots need matplotlib; pip install 'jpo-dist[data]'") from error
    # hashsalt: element ids are otherwise random; with a salt for each plot they are also unique in the page.
    with matplotlib.rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(4.2, 2.3), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_FAINT)
        axes.tick_params(colors=_FAINT, labelcolor=_INK)
        draw(axes)
        axes.xaxis.label.set_color(_FAINT)
        axes.yaxis.label.set_color(_FAINT)
        out = io.StringIO()
        nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    svg = out.getvalue()
    svg = re.sub("|".join(_PAINT), lambda found: _PAINT[found.group()], svg[svg.index("<svg") :].strip())
    svg = re.sub('<g id="[^"]*">', "<g>", svg)  # "axes_1" would stand in the page once for each plot
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{_words(description)}" ', 1)
    return f"<figure><figcaption>{_words(title)}</figcaption>{svg}</figure>"


def _examples(inspection: Mapping[str, Any]) -> list[str]:
    return ["<h2>Examples</h2>", *map(_example, inspection["examples"])] if inspection["examples"] else []


def _example(row: Mapping[str, Any]) -> str:
    names = ("first", "second") if row["tie"] else ("winner", "loser")
    sides = "".join(_side(name, row[side]) for name, side in zip(names, ("winner", "loser"), strict=True))
    kind = f"{row['protocol']}{', a tie' if row['tie'] else ''}"
    return (
        f'<article class="card example"><h3>{_words(kind)}</h3><div class="sides">{sides}</div>'
        f"<p>{_words(about(row))}</p></article>"
    )


def _side(name: str, item: Mapping[str, Any]) -> str:
    instruction, response = (
        f'<p dir="auto" class="text{kind}">{_words(shorten(text))}</p>'
        for kind, text in ((" instruction", conversation(item["instruction"])), ("", item["response"]))
    )
    won = ' class="won"' if name == "winner" else ""
    return f'<div class="side"><h4{won}>{name}</h4>{instruction}{response}</div>'
