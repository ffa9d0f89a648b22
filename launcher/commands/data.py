"""`jpo data …`: build a set of comparisons, look into one, list layouts, ask people and read their answers."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jpo_dist.home import find_config
from launcher.console import explained, out, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from jpo_dist.data.config import BuildConfig, ReferenceScoresConfig
    from jpo_dist.records.comparisons import Item

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Comparisons: build, inspect, layouts, export, import."
)

Overrides = Annotated[list[str] | None, typer.Argument(help="Settings to change: seed=1 pairs.0.budget=500 …")]
Tokenizer = Annotated[str | None, typer.Option(help="Model folder or hub id: lengths in tokens, not characters.")]
Where = Annotated[str, typer.Argument(help="A file, folder, glob, hub id, or FOLDER:SPLIT of a built set.")]


@app.command()
def build(
    config: Annotated[Path, typer.Argument(help="A YAML file, for example configs/data.yaml.", callback=find_config)],
    overrides: Overrides = None,
) -> None:
    """Sources to one set: read, pair, mix, split by instruction. Leaves the set and its report in `output`."""
    with explained():
        from jpo_dist.data.build import build as build_set
        from jpo_dist.data.build import lines, write
        from jpo_dist.data.config import BuildConfig
        from jpo_dist.locks import alone_in
        from launcher.config.load import load_kind
        from launcher.config.run_paths import refuse_lost
        from launcher.show.board import at_work

        settings = load_kind(BuildConfig, config, overrides)
        refuse_lost("output", settings.output)
        with at_work():
            with alone_in(settings.output):
                built = build_set(settings, _reference_logps)
                write(built, Path(settings.output))
            _track(settings, built.report, Path(settings.output))
        say("\n".join(lines(built.report)))
        if built.candidates:
            there = f"{settings.output}/candidates.jsonl"
            say(f"have them judged: jpo judge configs/judge.yaml candidates={there}")
        say(f"written: {settings.output}; look at it: jpo data inspect {settings.output}")


def _reference_logps(items: "Sequence[Item]", settings: "ReferenceScoresConfig") -> "np.ndarray":
    from jpo_dist.objective.reference_cache import (
        reference_logps,  # torch and a model: only the policy `hard` needs them
    )

    return reference_logps(items, settings)


def _track(settings: "BuildConfig", report: dict[str, Any], folder: Path) -> None:
    """The set's counts and fingerprint, and the digests of what it was built from, as an MLflow run."""
    if settings.tracking.uri in (None, "none"):
        return
    from jpo_dist.config.load import flatten
    from jpo_dist.data.build import lines
    from jpo_dist.files import read_json
    from jpo_dist.records.comparisons import digest
    from jpo_dist.tracking.finished_run import Finished, log_report
    from jpo_dist.tracking.writer import tags_of_environment
    from launcher.pipeline.contents import Contents, inputs
    from launcher.provenance import began_ms, run_tags
    from launcher.show.run_page.descriptions import of_set
    from launcher.show.run_page.inputs import of_build

    contents, digests = Contents(folder / "mlflow" / "digests.json"), {}
    for number, source in enumerate(settings.sources):
        places = [path for paths in inputs({"path": source.path}, folder).values() for path in paths]
        if places:  # a hub id stands for itself
            digests[number] = digest([contents.of(path) for path in places])
    made = read_json(folder / "report.json")
    params = flatten(settings.model_dump(mode="json")) | {"digest.set": made["fingerprint"]}
    params |= {f"digest.sources.{number}": found for number, found in digests.items()}
    counts = {name: made[name] for name in ("comparisons", "items")} | report["splits"]
    metrics = {f"build/{name}": float(count) for name, count in counts.items()}
    files = [folder / "report.json"]
    sources = [source.path for source in settings.sources]
    note = of_set(made, lines(report), sources, tags_of_environment())
    work = Finished(params, metrics, files, note, of_build(made, sources, digests, str(folder)), began_ms())
    log_report(settings.tracking, folder / "mlflow", settings.name, work, run_tags())


@app.command()
def inspect(
    where: Where,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained page with plots.")] = None,
    tokenizer: Tokenizer = None,
    on_bad_row: Annotated[str, typer.Option(help="skip: count bad rows; error: stop at them.")] = "skip",
    group: Annotated[list[str] | None, typer.Option(help="A column that says who judged; may come again.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which comparisons are shown.")] = 0,
    examples: Annotated[int, typer.Option(min=0, help="How many.")] = 3,
) -> None:
    """What is in a set of comparisons, whatever its layout."""
    with explained():
        from launcher.config.run_paths import refuse_lost
        from launcher.show.board import at_work

        if html is not None:
            refuse_lost("--html", html)
        with at_work():
            from launcher.stages.inspect import look

            found = look(where, tokenizer, on_bad_row, seed, examples, group or [])
        if html is not None:
            from jpo_dist.files import replace
            from launcher.show.inspection.page import page

            html.parent.mkdir(parents=True, exist_ok=True)
            replace(html, page(found), sync=False)
        if as_json:
            sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
            return
        from launcher.show.inspection.tables import tables

        for table in tables(found):
            out.print(table)
        if html is not None:
            say(f"page: {html}")


@app.command()
def layouts(
    name: Annotated[str | None, typer.Argument(help="One layout; all without it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list instead of text.")] = False,
) -> None:
    """What rows of data may look like: columns, which side a label means, an example of each."""
    with explained():
        from jpo_dist.data.layouts.page import described, lines

        found = described(name)
        if as_json:
            sys.stdout.write(json.dumps([one.as_dict() for one in found], ensure_ascii=False) + "\n")
            return
        sys.stdout.write("".join(f"{line}\n" for one in found for line in lines(one)))


@app.command()
def export(
    where: Where,
    folder: Annotated[Path, typer.Argument(help="Where to write tasks and labelling configs.")],
    to: Annotated[str, typer.Option(help="label-studio")] = "label-studio",
    on_bad_row: Annotated[str, typer.Option(help="error or skip")] = "error",
    group: Annotated[list[str] | None, typer.Option(help="A column that the tasks keep; may come again.")] = None,
) -> None:
    """Pairs as annotation tasks: one task file and one labelling config for each protocol."""
    with explained():
        from launcher.config.run_paths import refuse_lost
        from launcher.show.board import at_work
        from launcher.stages.annotate import export_tasks

        refuse_lost("FOLDER", folder)
        with at_work():
            told = export_tasks(where, folder, to, on_bad_row, group or [])
        for line in told:
            say(line)


@app.command("import")
def import_(
    export_file: Annotated[Path, typer.Argument(help="The JSON that the annotation tool exported.")],
    folder: Annotated[Path, typer.Argument(help="The set to write.")],
    from_: Annotated[str, typer.Option("--from", help="label-studio")] = "label-studio",
    group: Annotated[
        list[str] | None,
        typer.Option(help="A key of others' tasks that is kept; ours say theirs. May come again."),
    ] = None,
) -> None:
    """Annotations back as comparisons, with annotators and their agreement."""
    with explained():
        from launcher.config.run_paths import refuse_lost
        from launcher.stages.annotate import import_annotations

        refuse_lost("FOLDER", folder)
        report: dict[str, Any] = import_annotations(export_file, folder, from_, group or [])
        out.print_json(json.dumps(report))
        say(f"written: {folder}")
