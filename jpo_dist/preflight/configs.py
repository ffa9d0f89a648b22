"""Any config: what its command would be refused for, as far as it can be seen from here."""

from pathlib import Path

from pydantic import BaseModel

from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import SftConfig
from jpo_dist.data.config import BuildConfig
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.judge.config import JudgingConfig
from jpo_dist.paths import resolve


def look_at_config(config: BaseModel, *, here: bool = False) -> list[str]:
    """Notes on what a command with this config would do. Raises ValueError where it would be refused.

    Models and data that are not on this machine are not looked at, and a note says so; with `here`, for a command that
    is for this machine, a file or folder that is not there is a FileNotFoundError.
    """
    if here:
        _require_places(config)
    if isinstance(config, JpoConfig | SftConfig):
        from jpo_dist.preflight.runs import look

        return look(config, whole=True, here=here)
    if isinstance(config, GenerateConfig):
        return _look_at_generation(config)
    if isinstance(config, JudgingConfig) and config.kind == "reward_model":
        return _look_at_reward_model(config)
    return []


def _require_places(config: BaseModel) -> None:
    """Raises FileNotFoundError where a command would look for its data in vain; no row is read."""
    from jpo_dist.data.locate import open_place
    from jpo_dist.preflight.runs import require_folder

    if isinstance(config, GenerateConfig) and config.model is not None:
        require_folder("model.path", config.model.path)
    if isinstance(config, JudgingConfig) and config.kind == "reward_model":
        require_folder("reward_model.path", config.reward_model.path)
    if isinstance(config, BuildConfig):  # its `candidates` are how pairs are drawn
        named = [source.path for source in config.sources]
    else:
        named = [getattr(config, key, None) or [] for key in ("instructions", "candidates")]
    for place in (text for one in named for text in ([one] if isinstance(one, str) else one)):
        open_place(place, [])


def _look_at_generation(config: GenerateConfig) -> list[str]:
    if config.model is None:
        return []
    from jpo_dist.generate.prompts import read_prompts
    from jpo_dist.generate.shards import LocalModel
    from jpo_dist.model.files import unseen

    missing = unseen(config.model)
    if missing:
        return [f"model and instructions are not looked at: {missing}"]
    model = LocalModel(config)
    try:
        prompts = read_prompts(config.instructions, config.on_bad_row, config.max_row_mib).prompts
    except FileNotFoundError as error:
        return [f"instructions are not looked at: {error}"]
    refused = model.refused([prompt.turns for prompt in prompts])
    return [f"the chat template refuses {len(refused)} of {len(prompts)} instructions"] if refused else []


def _look_at_reward_model(config: JudgingConfig) -> list[str]:
    path = config.reward_model.path
    if not Path(resolve(path)).exists():
        return [f"the reward model is not looked at: {path} is not on this machine"]
    from jpo_dist.judge.reward_model import require_taken

    require_taken([], config.reward_model)
    return []
