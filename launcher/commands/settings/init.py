"""`jpo init`."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.console import explained, say

File = Annotated[Path, typer.Argument(help="The YAML file to write.")]


def command(
    file: File = Path("mine.yaml"),
    data: Annotated[str | None, typer.Option(help="Comparisons: a file, folder, glob, set or hub id.")] = None,
    model: Annotated[str | None, typer.Option(help="A Hugging Face folder or hub id.")] = None,
    validation: Annotated[str | None, typer.Option(help="Held-out data; default: a share of the data.")] = None,
    run_dir: Annotated[str | None, typer.Option(help="Where the run will live; default: runs/ and the name.")] = None,
    sft: Annotated[
        bool | None, typer.Option("--sft/--no-sft", help="For jpo sft, or for jpo train; default: what the data are.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Default: one for each GPU; without any, 0.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented config for your data, model and machine, which `jpo check` accepts. Asks for what is missing,
    on a terminal. The cluster that RAY_ADDRESS names is looked at in place of this machine."""
    with explained("nothing was written"):
        from launcher.init.questions import asked, refuse_overwriting

        refuse_overwriting(file, force)
        name = file.stem
        data = data or asked("--data", "Your data (a file, folder or hub id)")
        model = model or asked("--model", "The model to train (a folder or hub id)")
        run_dir = run_dir or asked("--run-dir", "Folder for the run", f"runs/{name}")

        from launcher.show.board import at_work

        with at_work():
            from launcher.init.found import look
            from launcher.init.machine import machine
            from launcher.init.written import as_config, write

            found = as_config(look(model, data, validation, sft), machine(workers), run_dir, name)
        write(file, found)
        command = "sft" if "sft" in found.settings else "train"
        say(f"written: {file}; next: jpo check {file}, then jpo {command} {file}")
