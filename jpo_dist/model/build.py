"""A model in its engine: the policy, which trains, and the frozen reference."""

from torch import nn

from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import ModelConfig, OptimConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.adapter import read_adapter
from jpo_dist.model.deepspeed_settings import deepspeed_config
from jpo_dist.model.device import device, torch_dtype
from jpo_dist.model.engine import Engine, freeze, partitioned
from jpo_dist.model.export.source import Source
from jpo_dist.model.export.twin import require_source
from jpo_dist.model.files import weights_folder
from jpo_dist.model.load import load_model, silence
from jpo_dist.model.scorer import Scorer


def build_policy(model: ModelConfig, engine: EngineConfig, optim: OptimConfig) -> Engine:
    """The model that trains. All ranks call it. Raises ValueError where its folder lacks weights of it."""
    dtype = torch_dtype(model.dtype)
    settings = deepspeed_config(engine, dtype, optim)
    scorer = Scorer(load_model(model, partitioned=partitioned(settings))).to(device())
    with ranks.together("holding the model to the weights in its folder"):
        if ranks.rank() == 0:
            require_source(scorer.model, Source(weights_folder(model)))
    return Engine(scorer, engine, optim, dtype)


def load_frozen(model: ModelConfig, engine: EngineConfig, adapter: str | None = None) -> nn.Module:
    """A model that only scores: a reference, or a policy that is evaluated. All ranks call it.

    `adapter`: a folder with an adapter of `model`, which is put on it.
    """
    dtype = torch_dtype(model.dtype)
    settings = deepspeed_config(engine, dtype)
    loaded = load_model(model, partitioned=partitioned(settings), trainable=False)
    if adapter is not None:
        loaded = silence(read_adapter(loaded, adapter))
    return freeze(Scorer(loaded).to(device()), engine, dtype)
