"""The `jpo` command."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cluster.errors import is_input
from launcher.config import RunConfig, absolute, load

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
out, err = Console(), Console(stderr=True)

ConfigPath = Annotated[Path, typer.Argument(help="A YAML file, for example configs/demo.yaml.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings to change: objective.beta=0.2 …")]

USAGE, FAILURE = 2, 1


@app.command()
def train(config: ConfigPath, overrides: Overrides = None) -> None:
    """Align the policy on comparisons; leaves metrics, checkpoints and an exported model in run.dir."""
    with explained():
        resolved = _load(config, overrides)
        from launcher import stages

        folder = stages.train(resolved)
        if stages.is_driver():
            out.print(f"exported model: {folder}", soft_wrap=True, highlight=False)


@app.command()
def evaluate(config: ConfigPath, overrides: Overrides = None) -> None:
    """Held-out loss, accuracy and margins with intervals; pass-rate of generated answers to checkable instructions."""
    with explained():
        resolved = _load(config, overrides)
        from launcher import stages
        from launcher.report import evaluation_table

        path = stages.evaluate(resolved)
        if stages.is_driver():
            out.print(evaluation_table(path))
            out.print(f"written: {path}", soft_wrap=True, highlight=False)


@app.command()
def export(config: ConfigPath, overrides: Overrides = None) -> None:
    """Write the newest valid checkpoint of run.dir as one Hugging Face folder."""
    with explained():
        resolved = _load(config, overrides)
        from launcher import stages

        folder = stages.export(resolved)
        if stages.is_driver():
            out.print(f"exported model: {folder}", soft_wrap=True, highlight=False)


@app.command()
def check(config: ConfigPath, overrides: Overrides = None) -> None:
    """Read a config, apply the overrides, check every rule, print the result. Starts nothing."""
    with explained():
        from omegaconf import OmegaConf

        resolved = load(config, overrides)
        out.print(OmegaConf.to_yaml(OmegaConf.create(resolved.model_dump(mode="json"))), markup=False, highlight=False)


@app.command()
def doctor(
    build: Annotated[bool, typer.Option(help="Also compile what would otherwise be compiled at first use.")] = False,
) -> None:
    """What this machine has, what is missing, and how to fix it."""
    from launcher.doctor import examine

    with explained():
        healthy = examine(out, build=build)
    raise typer.Exit(0 if healthy else FAILURE)


def _load(config: Path, overrides: list[str] | None) -> RunConfig:
    return absolute(load(config, overrides))


@contextmanager
def explained() -> Iterator[None]:
    """Errors a person can act on end in one sentence and an exit code, others with their traceback.

    Exit code 2: the command or config is wrong. 1: the run failed. `ray job submit` turns both into 1, so the last
    line of the log says which it was.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        code = exit_code(error)
        if code is None or os.environ.get("JPO_TRACEBACK"):
            raise
        _fail(f"{type(error).__name__}: {error}", code)


def exit_code(error: Exception) -> int | None:
    """None for an error that nobody wrote for people: those keep their traceback."""
    if is_input(error):
        return USAGE
    ours = type(error).__module__.split(".")[0] in ("jpo_dist", "cluster", "launcher")
    return FAILURE if ours else None


def _fail(cause: str, code: int) -> None:
    err.print(f"[bold red]error[/] (exit {code})", highlight=False)
    err.print(cause, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def main() -> None:
    level = os.environ.get("JPO_LOG", "INFO")
    logging.basicConfig(level=level, format="%(levelname).1s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "urllib3", "alembic", "filelock", "datasets", "fsspec"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app()
