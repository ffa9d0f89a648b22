"""The `jpo` command: registers its commands, in the order in which `jpo --help` lists them."""

import gc
import importlib.metadata
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

from cluster.signals import exit_when_terminated
from launcher import allocator, environment
from launcher.bench import command as bench
from launcher.commands import (
    data,
    demo,
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
from launcher.commands.registry import versions
from launcher.commands.settings import check, config, init
from launcher.console import explained, say


class _InOrder(typer.core.TyperGroup):
    """Lists commands as they are registered, groups of them among the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name, _, _ in WORKFLOW]


WORKFLOW: list[tuple[str, Callable[..., Any] | typer.Typer, str]] = [
    ("demo", demo.command, "demo"),
    ("data", data.app, "data inspect my/pairs.jsonl"),
    ("init", init.command, "init mine.yaml --data my/pairs.jsonl --model my/model"),
    ("sft", train.sft, "sft configs/sft.yaml"),
    ("generate", generate.command, "generate configs/generate.yaml temperatures=[0.5,1.0]"),
    ("judge", judge.command, "judge configs/judge.yaml"),
    ("check", check.command, "check configs/demo.yaml"),
    ("config", config.app, "config show configs/demo.yaml optim.lr=1e-5"),
    ("plan", plan.command, "plan configs/llama-8b-zero3.yaml"),
    ("train", train.command, "train configs/demo.yaml objective.beta=0.2"),
    ("evaluate", evaluate.command, "evaluate configs/demo.yaml"),
    ("score", evaluate.score, "score configs/demo.yaml score.data=my/pairs.jsonl"),
    ("winrate", winrate.command, "winrate configs/winrate.yaml"),
    ("export", export.command, "export configs/demo.yaml"),
    ("register", versions.register, "register configs/demo.yaml --name my-model"),
    ("promote", versions.promote, "promote configs/demo.yaml my/gate.yaml"),
    ("rollback", versions.rollback, "rollback configs/demo.yaml"),
    ("run", run.command, "run configs/pipeline-demo.yaml"),
    ("study", run.study, "study configs/studies/jpo_vs_dpo.yaml --dry-run"),
    ("submit", submit.command, "submit configs/demo.yaml run.dir=/shared/runs/demo"),
    ("bench", bench.command, "bench head"),
    ("doctor", doctor.command, "doctor"),
]
"""Every command in the order of the work, with an example: what `jpo --help` shows."""

app = typer.Typer(
    cls=_InOrder,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Examples, a line for each command:\n\n" + "\n".join(f"- `jpo {example}`" for _, _, example in WORKFLOW),
)
for _name, _command, _example in WORKFLOW:
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name, epilog=f"Example: `jpo {_example}`")(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"jpo-dist {importlib.metadata.version('jpo-dist')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Align language models on comparisons of whole (instruction, response) pairs."""


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
    try:
        app()
    finally:
        # At its end the interpreter looks for circles among all objects, a million with torch and MLflow: 2.7 s of CPU
        # time, which were minutes beside other work. What is open is closed by then, and the system takes the memory.
        gc.freeze()
