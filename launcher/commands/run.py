"""`jpo run` and `jpo study`."""

from typing import Annotated

import typer

from launcher.arguments import ConfigPath, Overrides
from launcher.console import explained, fail, out, say


def command(
    config: ConfigPath,
    overrides: Overrides = None,
    until: Annotated[str | None, typer.Option(help="The last stage to run, by its name.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all stages and say which are done.")] = False,
) -> None:
    """All stages of one YAML, from SFT to win-rate, each beginning from the one before; what is done is skipped."""
    with explained():
        from jpo_dist.config.load import load_as
        from launcher.config.pipeline import PipelineConfig
        from launcher.config.run_paths import refuse_lost
        from launcher.pipeline.process import is_done
        from launcher.pipeline.run import StageFailed, plan, run

        settings = load_as(PipelineConfig, config, overrides)
        refuse_lost("dir", settings.dir)
        if dry_run:
            for stage in plan(settings, str(config)):
                say(f"{'done' if is_done(stage) else 'to do'}  {stage.name}  {stage.folder}")
            return
        try:
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
) -> None:
    """A grid of pipelines, arms times seeds, measured and compared with honest intervals; what is done is skipped."""
    with explained():
        from jpo_dist.config.load import load_as
        from launcher.config.run_paths import refuse_lost
        from launcher.config.study import StudyConfig
        from launcher.show.sections import terminal
        from launcher.show.study import sections
        from launcher.study.beforehand import design, dry
        from launcher.study.run import run

        settings = load_as(StudyConfig, config, overrides)
        refuse_lost("dir", settings.dir)
        if dry_run or power is not None:
            for part in terminal([dry(settings, str(config))] if power is None else design(settings, power)):
                say(part) if isinstance(part, str) else out.print(part)
            return
        found = run(settings, str(config))
        for part in terminal(sections(found.report)):
            say(part) if isinstance(part, str) else out.print(part)
        say(f"report.md, report.html, results.json: {found.folder}")
