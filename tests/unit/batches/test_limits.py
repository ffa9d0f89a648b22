"""What models of several families say that they can take; no weight is made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from jpo_dist.batches.limits import (
    ModelLimits,
    doubts,
    limits_of,
    refuse_quantised,
    require_fits,
    require_vocabulary,
    vocabulary_of,
)
from jpo_dist.batches.tokenize import TokenizedItems, tokenize
from jpo_dist.config.sections import ModelConfig
from jpo_dist.model.attention import SEGMENTS
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.model.unloaded.limits import model_limits
from jpo_dist.objective.item_scores import item_scores
from jpo_dist.records.comparisons import Item
from tests.support.tiny import PLAIN, byte_tokenizer
from tests.support.tokens import data

SIZES: dict[str, Any] = {
    "vocab_size": 270, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4,
}  # fmt: skip
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 100, "rope_theta": 10000.0}
OF_64: dict[str, Any] = {**SIZES, "max_position_embeddings": 64}
DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
PHI: dict[str, Any] = {**OF_64, "original_max_position_embeddings": 32, "pad_token_id": 0}
LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0, 2.0, 4.0, 8.0], "rope_theta": 1e4,
            "original_max_position_embeddings": 32}  # fmt: skip
EXPERTS: dict[str, Any] = {**OF_64, "num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1}
QWEN: dict[str, Any] = {**OF_64, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16,
                        "shared_expert_intermediate_size": 16, "sliding_window": 16}  # fmt: skip
GPT: dict[str, Any] = {"vocab_size": 270, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}
OPT: dict[str, Any] = {**OF_64, "ffn_dim": 48, "word_embed_proj_dim": 32}
BLOOM: dict[str, Any] = {"vocab_size": 270, "hidden_size": 32, "n_layer": 1, "n_head": 4}
DEBERTA: dict[str, Any] = {**OF_64, "relative_attention": True, "position_biased_input": False}
LM, SCORES = hf.AutoModelForCausalLM, hf.AutoModelForSequenceClassification
FAMILIES: list[tuple[str, Any, Any, int | None]] = [
    ("a learned table", LM, hf.GPT2Config(**GPT), 64),
    ("a table with an offset", LM, hf.OPTConfig(**OPT), 64),
    ("rotations", LM, hf.LlamaConfig(**OF_64), 64),
    ("scaled rotations", LM, hf.LlamaConfig(**SIZES, max_position_embeddings=100, rope_parameters=YARN), 400),
    ("rotations that change with the batch", LM, hf.LlamaConfig(**OF_64, rope_parameters=DYNAMIC), 64),
    ("rotations of two lengths", LM, hf.Phi3Config(**PHI, rope_parameters=LONGROPE), 32),
    ("a window in the mask alone", LM, hf.PhimoeConfig(**EXPERTS, sliding_window=16), 16),
    ("no window", LM, hf.PhimoeConfig(**EXPERTS), 64),
    ("another window in the mask alone", LM, hf.Qwen2MoeConfig(**QWEN, use_sliding_window=True), 16),
    ("a window that is switched off", LM, hf.Qwen2MoeConfig(**QWEN, use_sliding_window=False), 64),
    ("a sliding window is no limit", LM, hf.MistralConfig(**OF_64, num_key_value_heads=2, sliding_window=16), 64),
    ("no positions", LM, hf.BloomConfig(**BLOOM), None),
    ("behind the padding", SCORES, hf.RobertaConfig(**{**OF_64, "max_position_embeddings": 66}, pad_token_id=1), 64),
    ("relative ones", SCORES, hf.DebertaV2Config(**DEBERTA, pos_att_type=["p2c"]), None),
]


@pytest.mark.parametrize(("kind", "config", "positions"), [f[1:] for f in FAMILIES], ids=[f[0] for f in FAMILIES])
def test_positions_are_those_that_a_model_has(kind: Any, config: Any, positions: int | None) -> None:
    with torch.device("meta"):
        model = kind.from_config(config)
    found = limits_of(model, config, "model.path", "m")
    assert found.rows == 270
    assert found.positions == positions
    if positions is not None and isinstance(config, hf.GPT2Config | hf.OPTConfig | hf.RobertaConfig):
        real = kind.from_config(config).eval()
        real(input_ids=torch.full((1, positions), 5))  # the oracle: one more is an error
        with pytest.raises((IndexError, RuntimeError)):
            real(input_ids=torch.full((1, positions + 1), 5))


def test_a_picture_has_other_positions_than_the_text() -> None:
    text = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16, "max_position_embeddings": 64}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = hf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    with torch.device("meta"):
        model = hf.AutoModelForCausalLM.from_config(config)
    assert limits_of(model, config, "model.path", "m").positions == 64


def limits(**changes: Any) -> ModelLimits:
    values = {"key": "model.path", "path": "m", "rows": 258, "positions": 64, "named": {"eos_token_id": 1}}
    return ModelLimits(**{**values, **changes})


def items_of(*lengths: int) -> list[TokenizedItems]:
    return [tokenize(byte_tokenizer(), [Item.of("x", "y" * (n - 3 - len(PLAIN) + 13))], data()) for n in lengths]


def test_items_beyond_the_last_position_are_refused_with_both_numbers() -> None:
    sets = items_of(64, 80, 90)
    assert [int(one.lengths_N[0]) for one in sets] == [64, 80, 90]
    require_fits([limits()], byte_tokenizer(), sets[:1], "data.max_length (256)")
    require_fits([limits(positions=None)], byte_tokenizer(), sets, "data.max_length (256)")
    with pytest.raises(
        ValueError, match=r"data.max_length \(256\) is more than the 64 positions of model.path \(m\)"
    ) as e:
        require_fits([limits(positions=100), limits()], byte_tokenizer(), sets, "data.max_length (256)")
    assert "2 of 3 items need more, the longest 90; set data.max_length=64" in str(e.value)
    with pytest.raises(ValueError, match=r"model.path \(m\) \(for a reason\), and 2 of 3"):
        require_fits([limits(why="for a reason")], byte_tokenizer(), sets, "data.max_length (256)")


@pytest.mark.parametrize(
    ("config", "most"),
    [
        (hf.Phi3Config(**PHI, rope_parameters=LONGROPE), 32),
        (hf.LlamaConfig(**{**OF_64, "max_position_embeddings": 32}, rope_parameters=DYNAMIC), 32),
    ],
)
def test_up_to_its_limit_an_item_is_scored_alike_whatever_it_is_packed_with(config: Any, most: int) -> None:
    """And beyond it is not: transformers turns every item of a pack by the longest one."""
    torch.manual_seed(0)
    model = LM.from_config(config, attn_implementation=SEGMENTS).float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    scorer = Scorer(model)

    def first_with(length: int) -> float:
        items = [Item.of("x", "y" * (n - 4)) for n in (20, length)]
        tokens = tokenize(byte_tokenizer(), items, data("{instruction}>"))
        assert list(tokens.lengths_N) == [20, length]
        batch = pack(tokens, np.array([0, 1]), torch.device("cpu"))
        with torch.no_grad():
            return float(item_scores(scorer(batch), batch)[0].sum())

    assert limits_of(model, config, "model.path", "m").positions == most
    assert first_with(most) == pytest.approx(first_with(28), abs=1e-4)
    assert abs(first_with(most + 8) - first_with(28)) > 1e-3


def test_a_model_with_its_own_attention_has_its_window() -> None:
    config = hf.PhimoeConfig(**EXPERTS, sliding_window=16)
    with torch.device("meta"):
        model = LM.from_config(config)
    assert limits_of(model, config, "reward_model.path", "m", packed=False).positions == 64


def test_a_model_that_looks_ahead_is_refused(tmp_path: Path) -> None:
    config = hf.Gemma3TextConfig(**OF_64, num_key_value_heads=2, head_dim=8, use_bidirectional_attention=True)
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^model.path .* attends to later tokens"):
        model_limits(ModelConfig(path=str(tmp_path)))


def test_a_token_without_a_row_is_refused_by_name() -> None:
    sets = items_of(64)
    top = int(sets[0].ids_T.max())
    require_fits([limits(rows=top + 1)], byte_tokenizer(), sets, "data.max_length (256)")
    with pytest.raises(ValueError, match=rf"reference.path \(m\) has {top} embedding rows, .* token {top} ") as caught:
        require_fits([limits(), limits(key="reference.path", rows=top)], byte_tokenizer(), sets, "data.max_length (9)")
    assert "name a folder that has both of one model" in str(caught.value)


def test_a_special_id_that_the_tokenizer_lacks_tells_another_family() -> None:
    """Qwen's weights with Llama's tokenizer: every id has a row, and none means what it meant."""
    qwen = limits(rows=151_936, named={"bos_token_id": 151_643, "eos_token_id": 151_645})
    with pytest.raises(ValueError, match=r"config.json says bos_token_id=151643, and its tokenizer has 258 tokens"):
        require_vocabulary(qwen, byte_tokenizer())
    require_vocabulary(limits(named={"eos_token_id": 50_256}), byte_tokenizer())  # a default that nobody has changed
    require_vocabulary(limits(rows=300), byte_tokenizer())


def test_sizes_that_do_not_fit_and_do_no_harm_are_noted() -> None:
    assert vocabulary_of(byte_tokenizer()) == 258
    assert doubts(limits(), byte_tokenizer()) == doubts(limits(rows=320), byte_tokenizer()) == []
    assert doubts(limits(rows=257), byte_tokenizer()) == [
        "the tokenizer of model.path has 258 tokens for 257 embedding rows"
    ]
    assert "are they of one model?" in doubts(limits(rows=8192), byte_tokenizer())[0]


@pytest.mark.parametrize("packed", [{"quant_method": "gptq", "bits": 4}, hf.BitsAndBytesConfig(load_in_4bit=True)])
def test_a_quantised_checkpoint_is_refused_by_its_method(packed: Any) -> None:
    settings = hf.LlamaConfig(**SIZES)
    refuse_quantised(settings, "model.path", "m")
    settings.quantization_config = packed
    with pytest.raises(ValueError, match=r"model.path \(m\) holds quantised weights \(\S+, quantization_config"):
        refuse_quantised(settings, "model.path", "m")


def test_no_tokens_fit_any_model() -> None:
    none = TokenizedItems(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0, np.int64))
    require_fits([limits(positions=1)], byte_tokenizer(), [none], "data.max_length (1)")
    require_fits([limits(positions=1)], byte_tokenizer(), [], "data.max_length (1)")
