"""`jpo submit`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from launcher.arguments import ConfigPath, Overrides
from launcher.console import explained


def command(
    config: ConfigPath,
    overrides: Overrides = None,
    address: Annotated[str | None, typer.Option(help="http://HOST:8265 of the head. [RAY_API_SERVER_ADDRESS]")] = None,
    verb: Annotated[
        Literal["train", "evaluate", "export", "score"] | None,
        typer.Option(help="What the job does with the config of a run; default: what the config is of."),
    ] = None,
    working_dir: Annotated[Path, typer.Option(help="The code to ship; .rayignore says what not.")] = Path("."),
    job_id: Annotated[str | None, typer.Option("--id", help="Name of the job; default: run.name and the time.")] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=VALUE: one more variable that the job gets; no secrets.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow the log and return the job's exit code.")] = True,
) -> None:
    """Run a command as a Ray job: prints the plain `ray job submit …` and runs it."""
    with explained():
        from launcher.stages.submit.dashboard import run
        from launcher.stages.submit.job import job

        code = run(
            job(
                config, overrides or [],
                verb=verb, address=address, working_dir=working_dir, job_id=job_id, wait=wait,
                env=env or [],
            )
        )  # fmt: skip
    raise typer.Exit(code)
