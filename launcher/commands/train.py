"""`jpo train` and `jpo sft`."""

from typing import TYPE_CHECKING

from launcher.arguments import ConfigPath, Overrides, read_config, read_sft
from launcher.console import err, explained, say

if TYPE_CHECKING:
    from launcher.config.kinds import AnyRunConfig


AGAIN = "the same command goes on from the last commit, or begins again where there is none"


def command(config: ConfigPath, overrides: Overrides = None) -> None:
    """Align the policy on comparisons; leaves metrics, checkpoints and an exported model in run.dir."""
    with explained(AGAIN):
        _train(read_config(config, overrides))


def sft(config: ConfigPath, overrides: Overrides = None) -> None:
    """Fine-tune a model on responses, before it is aligned; leaves in run.dir what `jpo train` does."""
    with explained(AGAIN):
        _train(read_sft(config, overrides))


def _train(resolved: "AnyRunConfig") -> None:
    err.print(
        f"run {resolved.run.name} in {resolved.run.dir}: loading libraries",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    from launcher.show.board import at_work

    with at_work() as chatter:
        from jpo_dist.tracking.run_file import page_of
        from launcher.stages.ranked import is_driver
        from launcher.stages.train import train

        folder = train(resolved, chatter)
        if is_driver():
            say(f"exported model: {folder}")
            page = page_of(resolved.tracking, resolved.run.dir)
            if page:
                say(f"MLflow: {page}")
