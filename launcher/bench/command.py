"""`jpo bench`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from launcher.console import err, explained, out


def command(
    names: Annotated[list[str] | None, typer.Argument(help="Groups of figures; none: all.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes: tries the code, measures nothing.")] = False,
    model: Annotated[str | None, typer.Option(help="Model folder; otherwise SmolLM2-135M.")] = None,
    rows: Annotated[str | None, typer.Option(help="Comparisons in any layout; none: those of the sample.")] = None,
) -> None:
    """Speed, memory and traffic against TRL and against the plain way: name=value lines, see docs/performance.md."""
    with explained():
        from launcher.bench import figures, sizes

        chosen = (sizes.quick if quick else sizes.full)(model, rows)
        found = figures.run(names or [], chosen, lambda line: err.print(line, markup=False, highlight=False))
        if as_json is not None:
            as_json.parent.mkdir(parents=True, exist_ok=True)
            as_json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        out.print("\n".join(figures.lines(found)), markup=False, highlight=False, soft_wrap=True)
