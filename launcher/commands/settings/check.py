"""`jpo check`."""

from typing import Annotated

import typer

from launcher.arguments import ConfigPath, Overrides
from launcher.chatter import aside
from launcher.console import explained, out, say


def command(
    config: ConfigPath,
    overrides: Overrides = None,
    everything: Annotated[bool, typer.Option("--all", help="Print the defaults too.")] = False,
) -> None:
    """Read a config of any command, apply the overrides, check every rule, print what differs from the defaults. Look
    at model, template and data, where they are on this machine. Starts nothing."""
    with explained():
        from omegaconf import OmegaConf

        from jpo_dist.config.load import load_as
        from launcher.config.detect import COMMANDS, kind_of
        from launcher.config.origins import differences

        kind = kind_of(config)
        resolved = load_as(kind, config, overrides)
        shown = resolved.model_dump(mode="json") if everything else differences(resolved)
        out.print(OmegaConf.to_yaml(OmegaConf.create(shown)), markup=False, highlight=False, soft_wrap=True)
        with aside():
            from jpo_dist.preflight.configs import look_at_config

            notes = look_at_config(resolved)
        for note in notes:
            say(f"# {note}")  # a comment: what is printed stays a config
        unseen = " as far as it is seen from here" if any("not looked at" in note for note in notes) else ""
        say(f"# ok{unseen}: a config of {COMMANDS[kind]}")
