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
        Literal["train", "evaluate", "export"], typer.Option(help="What the job does with the config.")
    ] = "train",
    working_dir: Annotated[Path, typer.Option(help="The code to ship; .rayignore says what not.")] = Path("."),
    job_id: Annotated[str | None, typer.Option("--id", help="Name of the job; default: run.name and the time.")] = None,
    wait: Annotated[bool, typer.Option(help="Follow the log and return the job's exit code.")] = True,
) -> None:
    """Run a command as a Ray job: prints the plain `ray job submit …` and runs it."""
    with explained():
        from launcher.stages.submit import job, run

        code = run(
            job(
                config, overrides or [],
                verb=verb, address=address, working_dir=working_dir, job_id=job_id, wait=wait,
            )
        )  # fmt: skip
    raise typer.Exit(code)
