"""What an export holds beside the parameters."""

from pathlib import Path

import pytest
import torch
import transformers as hf

from jpo_dist.model.build import build_policy
from jpo_dist.model.engine import connect
from jpo_dist.model.export import export
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer


@pytest.mark.slow
@pytest.mark.parametrize(("zero_stage", "num_ranks"), [(0, 1), (3, 2)])
def test_an_export_has_the_weights_that_are_buffers(zero_stage: int, num_ranks: int, tmp_path: Path) -> None:
    """The layer scale of Gemma 4, the router bias of DeepSeek-V3: without it transformers fills in ones or zeros."""
    base = with_scales(tmp_path / "model")
    made = run_ranks(export_untrained, num_ranks, zero_stage, str(tmp_path))[0]
    again, found = hf.AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32, output_loading_info=True)
    assert not found["missing_keys"]
    for name, weight in base.items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=0, atol=0)


def with_scales(folder: Path) -> dict[str, torch.Tensor]:
    """A Gemma 4 whose layer scales are not ones."""
    torch.manual_seed(0)
    config = hf.Gemma4TextConfig(
        vocab_size=258, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        num_key_value_heads=2, head_dim=8, vocab_size_per_layer_input=258, hidden_size_per_layer_input=8,
        global_head_dim=8, num_global_key_value_heads=2, num_kv_shared_layers=0, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    model = hf.AutoModelForCausalLM.from_config(config)
    scales = [buffer for name, buffer in model.named_buffers() if name.endswith("layer_scalar")]
    assert len(scales) == 2
    for scale in scales:
        scale.uniform_(0.5, 2)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return dict(model.state_dict())


def export_untrained(zero_stage: int, folder: str) -> str:
    connect(60)
    config = config_for(f"{folder}/model", "unused", f"{folder}/run", engine={"zero_stage": zero_stage})
    return str(export(build_policy(config.model, config.engine, config.optim), byte_tokenizer(), config, {}))
