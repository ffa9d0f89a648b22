"""The `jpo` command: registers its commands, in the order in which `jpo --help` lists them."""

import os
import sys

import typer

from cluster.signals import exit_when_terminated
from launcher import allocator, environment
from launcher.bench import command as bench
from launcher.commands import (
    check,
    data,
    doctor,
    evaluate,
    export,
    generate,
    judge,
    plan,
    run,
    submit,
    train,
    winrate,
)
from launcher.console import explained

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
app.command("sft")(train.sft)
app.command("train")(train.command)
app.command("evaluate")(evaluate.command)
app.command("score")(evaluate.score)
app.command("export")(export.command)
app.command("check")(check.command)
app.command("plan")(plan.command)
app.command("generate")(generate.command)
app.command("judge")(judge.command)
app.command("winrate")(winrate.command)
app.command("run")(run.command)
app.command("study")(run.study)
app.command("submit")(submit.command)
app.command("bench")(bench.command)
app.command("doctor")(doctor.command)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line: streams, signals, allocator, logs, the rest of the environment, then the command."""
    environment.begin_in_utf8()
    environment.open_streams()
    exit_when_terminated()
    allocator.begin_again(sys.argv[1:])
    try:
        with explained():
            environment.start_logging(os.environ)
            environment.prepare(os.environ)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    app()
