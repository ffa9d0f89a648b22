"""The `jpo` command: registers its commands, in the order in which `jpo --help` lists them."""

import logging
import os
import sys

import typer

from launcher import allocator
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
    """Run the command line: allocator, logs (JPO_LOG says from which level), quiet libraries, then the command."""
    allocator.begin_again(sys.argv[1:])
    level = os.environ.get("JPO_LOG", "INFO")
    logging.basicConfig(level=level, format="%(levelname).1s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "urllib3", "alembic", "filelock", "datasets", "fsspec", "faiss"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app()
