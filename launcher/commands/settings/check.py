"""`jpo check`."""

import os
from typing import Annotated

import typer

from launcher.arguments import AsJson, ConfigPath, Overrides
from launcher.console import explained, out, say, say_json


def command(
    config: ConfigPath,
    overrides: Overrides = None,
    as_json: AsJson = False,
    everything: Annotated[bool, typer.Option("--all", help="Print the defaults too.")] = False,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="It is for another machine: what is not here is a note, no error.")
    ] = False,
) -> None:
    """Read a config of any command, apply the overrides, check every rule, print what differs from the defaults. Look
    at model, template and data, which must be here unless a cluster is named. Starts nothing."""
    with explained():
        from omegaconf import OmegaConf

        from jpo_dist.config.load import load_as
        from launcher.config.detect import COMMANDS, kind_of
        from launcher.config.origins import differences

        kind = kind_of(config)
        resolved = load_as(kind, config, overrides)
        shown = resolved.model_dump(mode="json") if everything else differences(resolved)
        if not as_json:
            out.print(OmegaConf.to_yaml(OmegaConf.create(shown)), markup=False, highlight=False, soft_wrap=True)
        from launcher.show.board import at_work

        with at_work():
            from jpo_dist.preflight.configs import look_at_config

            cluster = getattr(resolved, "cluster", None)
            away = elsewhere or bool(cluster and (cluster.address or os.environ.get("RAY_ADDRESS")))
            notes = look_at_config(resolved, here=not away)
        if as_json:
            say_json({"ok": True, "command": COMMANDS[kind], "config": shown, "notes": notes})
            return
        for note in notes:
            say(f"# {note}")  # a comment: what is printed stays a config
        unseen = " as far as it is seen from here" if any("not looked at" in note for note in notes) else ""
        say(f"# ok{unseen}: a config of {COMMANDS[kind]}")
