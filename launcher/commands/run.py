"""`jpo run`."""

from typing import Annotated

import typer

from launcher.arguments import ConfigPath, Overrides
from launcher.console import explained, fail, say


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
        from launcher.pipeline.run import StageFailed, is_done, plan, run

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
