"""`jpo generate`."""

from typing import Annotated

import typer

from launcher.arguments import ConfigPath, Overrides
from launcher.console import explained, say


def command(
    config: ConfigPath,
    overrides: Overrides = None,
    to: Annotated[
        list[str] | None, typer.Option(help="Also write the answers as alpaca-eval, mt-bench or ifeval takes them.")
    ] = None,
) -> None:
    """Answers of a model, or of a server, to instructions: at several temperatures, several of each, resumable."""
    with explained("what was answered is kept, and the same command goes on from there"):
        from launcher.config.kinds import GenerateRunConfig
        from launcher.config.load import load_kind

        settings = load_kind(GenerateRunConfig, config, overrides)
        from launcher.show.board import at_work

        with at_work() as chatter:
            from launcher.stages.generate import run

            report, files = run(settings, to or [], chatter)
        for temperature, found in report["temperatures"].items():
            left = [
                f"{found[name]} {name.replace('_', ' ')}"
                for name in ("skipped", "failed", "not_asked", "sent_without_temperature")
                if found.get(name)
            ]
            told = ", ".join(
                [f"{found['answers']} answers", f"{found['finished']} finished", f"{found['empty']} empty", *left]
            )
            say(f"temperature {temperature}: {told}")
        for file in files:
            say(f"written: {file}")
        say(f"answers, report.json: {settings.output}")
