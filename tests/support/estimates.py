"""A model's configuration, a run and the tokens of its ranks, small enough that an estimate is worked out by hand."""

from typing import Any

import numpy as np
from transformers import LlamaConfig

from jpo_dist.config.run import JpoConfig
from jpo_dist.estimate.model_shape import Activations, ModelShape, model_shape
from jpo_dist.estimate.workload import Load

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
TABLE, LAYER = 258 * 32, 2 * 32 + 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48
P = 2 * TABLE + 2 * LAYER + 32
"""Parameters of an embedding or a head, of a layer, and of the whole untied model with two layers."""
NOTHING = Activations(0, 0, 0)


def llama(tied: bool = False, layers: int = 2, **sizes: Any) -> LlamaConfig:
    """A model type's configuration: two layers of width 32, unless told otherwise."""
    settings = {**SIZES, "vocab_size": 258, **sizes}
    return LlamaConfig(num_hidden_layers=layers, tie_word_embeddings=tied, **settings)


def config(**sections: Any) -> JpoConfig:
    """A run in bfloat16 whose sections are changed as told."""
    values: dict[str, Any] = {
        "model": {"path": "m", "dtype": "bfloat16"},
        "data": {"train": "d"},
        "engine": {"param_persistence_threshold": 0},
        "run": {"dir": "r"},
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return JpoConfig.model_validate(values)


def shape_of(settings: JpoConfig, tied: bool = False) -> ModelShape:
    """The shape of the small model under these settings."""
    return model_shape(llama(tied), settings.model)


def load(tokens: list[list[int]], squares: int = 0, rows: int = 0) -> Load:
    """The load of a step with these tokens, (micro-steps M, ranks W), that is one reference pass."""
    table = np.array(tokens)
    return Load(4, 8, table, table * 0 + squares, table * 0 + rows, 0, (1,), np.zeros(len(table), dtype=int), (1,))
