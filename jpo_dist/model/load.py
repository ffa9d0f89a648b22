"""Models and tokenizers from disk, made ready to score: packed attention, no dropout, adapters."""

import logging
from contextlib import nullcontext
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from jpo_dist.config.sections import ModelConfig
from jpo_dist.model.adapter import add_adapter
from jpo_dist.model.attention import NO_ATTENTION_FUNCTION, SEGMENTS
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.files import model_folder, pretrained
from jpo_dist.model.unloaded.limits import without_weights

logger = logging.getLogger(__name__)


def attention_share(config: ModelConfig) -> float:
    """What attention adds to the cost of a token, for each token of its item, as a share of the cost of its products.

    An item of n tokens costs n (1 + share n).

    Products cost 2 P a token and causal attention 2 L D for each token before it (half of them, twice): L D / P, with P
    the parameters that take part in products (not the embedding table), L layers and D the model's width. Read off the
    model's configuration; no weights are loaded.
    """
    settings, model = without_weights(config)
    text = settings.get_text_config()
    in_products = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    if text.tie_word_embeddings:
        in_products += model.get_input_embeddings().weight.numel()  # the table is the head as well
    return float(text.num_hidden_layers * text.hidden_size / in_products)


def load_tokenizer(config: ModelConfig) -> Any:
    return pretrained(AutoTokenizer, config)


def load_model(config: ModelConfig, *, partitioned: Any = None, trainable: bool = True) -> nn.Module:
    """A causal language model with its weights, packed attention, no dropout, and adapters where they are asked for.

    `partitioned` is a context in which loaded weights are split over the ranks as they arrive (ZeRO-3): the whole
    model then never exists in one process. A reference is always loaded from its path, since a partitioned model
    cannot be copied.
    """
    if partitioned is not None and config.gguf_file:
        model_folder(config)  # converted before weights are split as they arrive
    try:
        with partitioned or nullcontext():
            dtype = torch_dtype(config.dtype)
            model = pretrained(AutoModelForCausalLM, config, dtype=dtype, attn_implementation=SEGMENTS)
    except KeyError as error:
        if SEGMENTS not in str(error):
            raise
        raise ValueError(f"model.path ({config.path}): {NO_ATTENTION_FUNCTION}") from None
    model.config.use_cache = False
    if config.gradient_checkpointing and trainable:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.lora.rank and trainable:
        model = add_adapter(model, config.lora)
    return silence(model)


def silence(model: nn.Module) -> nn.Module:
    """`model` without any randomness. Scores must be repeatable: with dropout even step 0 would see policy and
    reference differ.

    Everything is in evaluation mode, since model types draw in ways of their own while they train (PhiMoE its experts).
    Checkpointed layers are the exception: they recompute in training mode only. Dropout is zero all the same, also
    where it is a number and no module (OPT, Seed-OSS).
    """
    for module in model.eval().modules():
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or (name == "p" and isinstance(module, nn.Dropout))):
                setattr(module, name, 0.0)
        module.training = getattr(module, "gradient_checkpointing", False) is True
    return model
