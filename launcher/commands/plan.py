"""`jpo plan`."""

from pathlib import Path
from typing import Annotated

import typer

from launcher.arguments import ConfigPath, Overrides, read_config
from launcher.console import explained, out


def command(
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
        from launcher.show.board import at_work

        resolved = read_config(config, overrides)
        with at_work():
            from launcher.show.plan import show
            from launcher.stages import plan

            found = plan.plan(resolved, plan.Options(device, network, model_config, lengths))
        if as_json:
            out.print(plan.as_json(found), markup=False, highlight=False, soft_wrap=True)
        else:
            show(found, out)
