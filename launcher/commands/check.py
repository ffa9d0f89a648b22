"""`jpo check`."""

from launcher.arguments import ConfigPath, Overrides
from launcher.console import explained, out, say


def command(config: ConfigPath, overrides: Overrides = None) -> None:
    """Read a config of any command, apply the overrides, check every rule, print the result. Look at model, template
    and data, where they are on this machine. Starts nothing."""
    with explained():
        from omegaconf import OmegaConf

        from jpo_dist.config.load import load_as
        from jpo_dist.preflight.configs import look_at_config
        from launcher.config.detect import kind_of

        resolved = load_as(kind_of(config), config, overrides)
        out.print(OmegaConf.to_yaml(OmegaConf.create(resolved.model_dump(mode="json"))), markup=False, highlight=False)
        for note in look_at_config(resolved):
            say(f"# {note}")  # a comment: what is printed stays a config
