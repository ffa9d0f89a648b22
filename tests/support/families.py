"""Configurations of model families, tiny, each with what sets its scores or its checkpoints apart from the others'."""

from collections.abc import Callable
from typing import Any

import transformers as hf

SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 258,
    "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
GROUPED: dict[str, Any] = {**SIZES, "num_key_value_heads": 2}
WINDOW: dict[str, Any] = {"sliding_window": 5}  # shorter than most items of the tests
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "bos_token_id": 0, "eos_token_id": 1}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaConfig(**GROUPED),
    "llama, tied head": lambda: hf.LlamaConfig(**GROUPED, tie_word_embeddings=True),
    "mistral, window": lambda: hf.MistralConfig(**GROUPED, **WINDOW, head_dim=8),
    "qwen2": lambda: hf.Qwen2Config(**GROUPED),
    "qwen2, window": lambda: hf.Qwen2Config(**GROUPED, **WINDOW, use_sliding_window=True, max_window_layers=1),
    "qwen3": lambda: hf.Qwen3Config(**GROUPED, head_dim=16),
    "gemma2, softcaps": lambda: hf.Gemma2Config(
        **GROUPED,
        **WINDOW,
        head_dim=8,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        query_pre_attn_scalar=11,
    ),
    "gemma3": lambda: hf.Gemma3TextConfig(**GROUPED, **WINDOW, head_dim=8, query_pre_attn_scalar=11),
    "gpt2": lambda: hf.GPT2Config(vocab_size=258, initializer_range=0.2, **GPT2),
    "gpt-neox": lambda: hf.GPTNeoXConfig(**SIZES),
    "phi, head bias": lambda: hf.PhiConfig(**SIZES),
    "phi3, window": lambda: hf.Phi3Config(**GROUPED, **WINDOW),
    "cohere, logit scale": lambda: hf.CohereConfig(**GROUPED, logit_scale=0.25),
    "hyperclovax, logit factor": lambda: hf.HyperCLOVAXConfig(**GROUPED, logits_scaling=0.3, attention_multiplier=0.3),
    "granite, logit divisor": lambda: hf.GraniteConfig(**GROUPED, logits_scaling=4.0, attention_multiplier=0.3),
}
EXPERTS: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: hf.MixtralConfig(**GROUPED, num_local_experts=4),
    "qwen2 with experts": lambda: hf.Qwen2MoeConfig(
        **GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=24
    ),
}
"""Families whose checkpoints have a weight for each expert, where the model has one for all."""


def gemma4_with_scales() -> Any:
    """Its layer scales are buffers that a checkpoint has."""
    return hf.Gemma4TextConfig(
        vocab_size=258, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        num_key_value_heads=2, head_dim=8, vocab_size_per_layer_input=258, hidden_size_per_layer_input=8,
        global_head_dim=8, num_global_key_value_heads=2, num_kv_shared_layers=0, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip


def gemma3_with_vision() -> Any:
    """A tower for pictures beside the text, whose keys begin with `language_model.`."""
    text = {**GROUPED, "vocab_size": 260, "head_dim": 8, "sliding_window": 16}
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    pictures = {"mm_tokens_per_image": 4, "image_token_index": 259, "boi_token_index": 258, "eoi_token_index": 257}
    return hf.Gemma3Config(text_config=text, vision_config={**tower, "image_size": 28, "patch_size": 14}, **pictures)


def llama4_with_vision() -> Any:
    """transformers makes its text alone of it: a class of causal language models, which has no place for the tower."""
    text = {**GROUPED, "vocab_size": 260, "head_dim": 8, "num_local_experts": 2, "intermediate_size_mlp": 32}
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tower |= {"image_size": 28, "patch_size": 14, "projector_input_dim": 16}
    wide = {"vision_output_dim": 32, "projector_output_dim": 32}
    return hf.Llama4Config(text_config=text, vision_config={**tower, **wide}, image_token_index=259)


def qwen3_5_with_vision() -> Any:
    """The same, under another prefix."""
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
    linear |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    tower = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "patch_size": 14}
    tower |= {"out_hidden_size": 32, "num_position_embeddings": 16}
    text = {**GROUPED, "vocab_size": 260, "head_dim": 8, **linear}
    text["layer_types"] = ["linear_attention", "full_attention"]
    return hf.Qwen3_5Config(text_config=text, vision_config=tower, image_token_id=259)
