"""`jpo export`."""

from launcher.arguments import ConfigPath, Overrides, read_any
from launcher.console import explained, say


def command(config: ConfigPath, overrides: Overrides = None) -> None:
    """Write the newest valid checkpoint of run.dir as one Hugging Face folder."""
    with explained():
        resolved = read_any(config, overrides)
        from launcher.stages.export import export
        from launcher.stages.ranked import is_driver

        folder = export(resolved)
        if is_driver():
            say(f"exported model: {folder}")
