"""`jpo run` and `jpo study`."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.arguments import AsJson, ConfigPath, Overrides
from launcher.chatter import aside
from launcher.console import explained, fail, out, say, say_json


def command(
    config: ConfigPath,
    overrides: Overrides = None,
    until: Annotated[str | None, typer.Option(help="The last stage to run, by its name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all stages and say which are done.")] = False,
    as_json: AsJson = False,
) -> None:
    """All stages of one YAML, from SFT to win-rate, each beginning from the one before; what is done is skipped."""
    with explained("the same command goes on with the stage that was cut short"):
        from launcher.config.load import load_kind
        from launcher.config.pipeline import PipelineConfig
        from launcher.config.run_paths import refuse_lost
        from launcher.pipeline.process import is_done
        from launcher.pipeline.run import StageFailed, plan, run
        from launcher.show.board import at_work

        settings = load_kind(PipelineConfig, config, overrides)
        refuse_lost("dir", settings.dir)
        if dry_run:
            planned = plan(settings, str(config))
            if as_json:
                say_json([
                    {"stage": one.name, "done": is_done(one), "folder": str(one.folder), "made": str(one.made)}
                    for one in planned
                ])  # fmt: skip
                return
            for stage in planned:
                say(f"{'done' if is_done(stage) else 'to do'}  {stage.name}  {stage.folder}")
            return
        try:
            with at_work():
                stages = run(settings, str(config), until)
        except StageFailed as failed:  # the stage has said why, with an exit code of its own
            fail(str(failed), failed.code)
            return
        for stage in stages:
            if is_done(stage):
                say(f"{stage.name}: {stage.made}")


def study(
    config: ConfigPath,
    overrides: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say cells, stages, time and disk; run nothing.")] = False,
    power: Annotated[
        float | None,
        typer.Option(help="Say how many runs a difference of this size takes (0.03: 3 points); run nothing."),
    ] = None,
    publish: Annotated[
        Path | None,
        typer.Option(help="Write the page of all that is done so far to this folder (docs/studies/…); run nothing."),
    ] = None,
    go_on_with: Annotated[
        list[Path] | None,
        typer.Option("--continue", help="Take cells that were published to this folder (elsewhere) as measured."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A grid of pipelines, arms times seeds, measured and compared with honest intervals; what is done is skipped."""
    with explained("the same command goes on with what is not done"):
        from launcher.config.load import load_kind
        from launcher.config.run_paths import refuse_lost
        from launcher.config.study import StudyConfig
        from launcher.show.sections import terminal
        from launcher.show.study.tables import sections
        from launcher.study import beforehand
        from launcher.study.report import continued
        from launcher.study.run import run

        settings = load_kind(StudyConfig, config, overrides)
        refuse_lost("dir", settings.dir)
        if go_on_with:
            continued.go_on_with(go_on_with, settings, str(config))
        if publish is not None:
            parts, folder = sections(continued.publish(settings, str(config), publish).report)[:1], publish
        elif power is not None:
            parts, folder = beforehand.design(settings, str(config), power), None
        elif dry_run:
            parts, folder = [beforehand.dry(settings, str(config))], None
        else:
            with aside():
                found = run(settings, str(config))
            parts, folder = sections(found.report), found.folder
        if as_json:
            say_json([part._asdict() for part in parts])
            return
        for part in terminal(parts):
            say(part) if isinstance(part, str) else out.print(part)
        if folder is not None:
            say(f"the report and its files: {folder}")
