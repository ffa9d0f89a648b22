"""`jpo check`."""

from launcher.arguments import ConfigPath, Overrides
from launcher.console import explained, out


def command(config: ConfigPath, overrides: Overrides = None) -> None:
    """Read a config of any command, apply the overrides, check every rule, print the result. Starts nothing."""
    with explained():
        from omegaconf import OmegaConf

        from jpo_dist.config.load import load_as
        from launcher.config.detect import kind_of

        resolved = load_as(kind_of(config), config, overrides)
        out.print(OmegaConf.to_yaml(OmegaConf.create(resolved.model_dump(mode="json"))), markup=False, highlight=False)
