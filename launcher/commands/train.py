"""`jpo train`."""

from launcher.arguments import ConfigPath, Overrides, read_config
from launcher.console import explained, say


def command(config: ConfigPath, overrides: Overrides = None) -> None:
    """Align the policy on comparisons; leaves metrics, checkpoints and an exported model in run.dir."""
    with explained():
        resolved = read_config(config, overrides)
        from launcher.stages.ranked import is_driver
        from launcher.stages.train import train

        folder = train(resolved)
        if is_driver():
            say(f"exported model: {folder}")
