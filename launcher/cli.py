"""The `jpo` command."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from launcher import allocator
from launcher.commands import data
from launcher.config.load import RunConfig, absolute, load, load_as
from launcher.console import FAILURE, err, explained, out

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)
app.add_typer(data.app, name="data")

ConfigPath = Annotated[Path, typer.Argument(help="A YAML file, for example configs/demo.yaml.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings to change: objective.beta=0.2 …")]


@app.command()
def train(config: ConfigPath, overrides: Overrides = None) -> None:
    """Align the policy on comparisons; leaves metrics, checkpoints and an exported model in run.dir."""
    with explained():
        resolved = _load(config, overrides)
        from launcher import ranked

        folder = ranked.train(resolved)
        if ranked.is_driver():
            _say(f"exported model: {folder}")


@app.command()
def evaluate(config: ConfigPath, overrides: Overrides = None) -> None:
    """Held-out loss, accuracy and margins with intervals; pass-rate of generated answers to checkable instructions."""
    with explained():
        resolved = _load(config, overrides)
        from launcher import ranked
        from launcher.show.evaluation import evaluation_table

        path = ranked.evaluate(resolved)
        if ranked.is_driver():
            out.print(evaluation_table(path))
            _say(f"written: {path}")


@app.command()
def export(config: ConfigPath, overrides: Overrides = None) -> None:
    """Write the newest valid checkpoint of run.dir as one Hugging Face folder."""
    with explained():
        resolved = _load(config, overrides)
        from launcher import ranked

        folder = ranked.export(resolved)
        if ranked.is_driver():
            _say(f"exported model: {folder}")


@app.command()
def check(config: ConfigPath, overrides: Overrides = None) -> None:
    """Read a config of any command, apply the overrides, check every rule, print the result. Starts nothing."""
    with explained():
        from omegaconf import OmegaConf

        from launcher.config.kinds import kind_of

        resolved = load_as(kind_of(config), config, overrides)
        out.print(OmegaConf.to_yaml(OmegaConf.create(resolved.model_dump(mode="json"))), markup=False, highlight=False)


@app.command()
def plan(
    config: ConfigPath,
    overrides: Overrides = None,
    device: Annotated[
        str | None, typer.Option(help="What a rank computes with: cpu (measured here), h100, h200, b200, a100, ...")
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="nvlink, loopback, 400Gb for each rank, 100Gb/8 shared by 8 ranks.")
    ] = None,
    model_config: Annotated[
        Path | None, typer.Option(help="A config.json, for a model that is not on this machine.")
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="MEAN,SD tokens of an item, to plan without data or tokenizer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Memory, traffic and time of a run, what bounds it and what to change. Loads no weights, starts nothing."""
    with explained():
        from launcher.commands import plan as plan_command
        from launcher.show import plan as plan_tables

        options = plan_command.Options(device, network, model_config, lengths)
        found = plan_command.plan(_load(config, overrides), options)
        if as_json:
            out.print(plan_command.as_json(found), markup=False, highlight=False, soft_wrap=True)
        else:
            plan_tables.show(found, out)


@app.command()
def judge(config: ConfigPath, overrides: Overrides = None) -> None:
    """Label candidate comparisons with a judge: an LLM, a program that checks, or a reward model."""
    with explained():
        from jpo_dist.judge.report import OUTCOMES
        from launcher.commands.judge import JudgeRunConfig, run

        settings = load_as(JudgeRunConfig, config, overrides)
        found = run(settings)["outcomes"]
        told = [f"{found[outcome]} {outcome}" for outcome in OUTCOMES if found.get(outcome)]
        _say(", ".join(told))
        _say(f"comparisons, report.html: {settings.output}")


@app.command()
def submit(
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
        from launcher.commands.submit import job, run

        code = run(
            job(
                config, overrides or [],
                verb=verb, address=address, working_dir=working_dir, job_id=job_id, wait=wait,
            )
        )  # fmt: skip
    raise typer.Exit(code)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Groups of figures; none: all.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    quick: Annotated[bool, typer.Option(help="Tiny sizes: tries the code, measures nothing.")] = False,
    model: Annotated[str | None, typer.Option(help="Model folder; otherwise SmolLM2-135M.")] = None,
    rows: Annotated[str | None, typer.Option(help="Comparisons in any layout.")] = None,
) -> None:
    """Speed, memory and traffic against TRL and against the plain way: name=value lines, see docs/performance.md."""
    with explained():
        from launcher.bench import figures, sizes

        chosen = (sizes.quick if quick else sizes.full)(model, rows)
        found = figures.run(names or [], chosen, lambda line: err.print(line, markup=False, highlight=False))
        if as_json is not None:
            as_json.parent.mkdir(parents=True, exist_ok=True)
            as_json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        out.print("\n".join(figures.lines(found)), markup=False, highlight=False, soft_wrap=True)


@app.command()
def doctor(
    build: Annotated[bool, typer.Option(help="Also compile what would otherwise be compiled at first use.")] = False,
) -> None:
    """What this machine has, what is missing, and how to fix it."""
    from launcher.commands.doctor import examine

    with explained():
        healthy = examine(out, build=build)
    raise typer.Exit(0 if healthy else FAILURE)


def _say(text: str) -> None:
    """As it is: a path may have brackets in it."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def _load(config: Path, overrides: list[str] | None) -> RunConfig:
    return absolute(load(config, overrides))


def main() -> None:
    allocator.begin_again(sys.argv[1:])
    level = os.environ.get("JPO_LOG", "INFO")
    logging.basicConfig(level=level, format="%(levelname).1s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("httpx", "httpx2", "urllib3", "alembic", "filelock", "datasets", "fsspec", "faiss"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app()
