"""`jpo evaluate`."""

from launcher.arguments import ConfigPath, Overrides, read_config
from launcher.console import explained, out, say


def command(config: ConfigPath, overrides: Overrides = None) -> None:
    """Held-out loss, accuracy and margins with intervals; pass-rate of generated answers to checkable instructions."""
    with explained():
        resolved = read_config(config, overrides)
        from launcher.show.evaluation import evaluation_table
        from launcher.stages.evaluate import evaluate
        from launcher.stages.ranked import is_driver

        path = evaluate(resolved)
        if is_driver():
            out.print(evaluation_table(path))
            say(f"written: {path}")
