"""Models from disk: a name that leads nowhere is one sentence, and a policy draws no random numbers."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.sections import DataConfig, ModelConfig
from jpo_dist.model.files import pretrained, weights_folder
from jpo_dist.model.load import load_model, load_tokenizer
from jpo_dist.model.scorer import Scorer, pack
from jpo_dist.model.unloaded.limits import model_limits
from jpo_dist.objective.scores import item_scores
from jpo_dist.proxies import VARIABLES
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons


@pytest.mark.parametrize("load", [load_tokenizer, load_model])
@pytest.mark.parametrize(
    ("path", "reason"), [("my-model", "We couldn't connect to .*"), ("runs/my model", "Repo id must use .*")]
)
def test_a_name_that_leads_nowhere_is_one_sentence_of_ours(
    load: Callable[[ModelConfig], Any], path: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub stands for one that cannot be reached: transformers says so in sixty lines of tracebacks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    told = rf"model\.path \({path}\): no folder seen from here, and not to be read from the hub: {reason}"
    with pytest.raises(ValueError, match=rf"^{told}[^.\n]; correct the path$") as caught:
        load(ModelConfig(path=path, dtype="float32"))
    assert caught.value.__suppress_context__


def test_a_hub_that_does_not_answer_is_said_at_once_and_by_the_setting_that_names_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a port on which nobody listens. Its library would try for half a minute, and blame model.path for each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    said = r"^evaluate\.policy \(o/n\): .*127\.0\.0\.1 does not answer .*; correct the path$"
    with pytest.raises(ValueError, match=said):
        model_limits(ModelConfig(path="o/n"), "evaluate.policy")


@pytest.mark.parametrize("kind", [hf.AutoTokenizer, hf.AutoConfig])
def test_a_folder_without_a_model_is_told_as_one(kind: Any, tmp_path: Path) -> None:
    """transformers advises to install sentencepiece."""
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ValueError, match=rf"^reference\.path \({tmp_path}\) holds no model: it has no config\.json"):
        pretrained(kind, ModelConfig(path=str(tmp_path)), "reference.path")


SMALL: dict[str, Any] = {"vocab_size": 258, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
GATED: dict[str, Any] = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
DRAWS: dict[str, Callable[[], Any]] = {
    "opt": lambda: hf.OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=256, dropout=0.5),
    "seed-oss": lambda: hf.SeedOssConfig(**GATED, residual_dropout=0.5, attention_dropout=0.5),
    "phimoe": lambda: hf.PhimoeConfig(**GATED, num_local_experts=4, router_jitter_noise=0.5, input_jitter_noise=0.5),
}


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("family", DRAWS)
def test_a_policy_that_trains_draws_nothing_and_scores_as_its_reference(
    family: str, checkpointed: bool, tmp_path: Path
) -> None:
    """Their dropout is a number of theirs, no module; PhiMoE draws its experts."""
    torch.manual_seed(0)
    hf.AutoModelForCausalLM.from_config(DRAWS[family]()).save_pretrained(tmp_path)
    config = ModelConfig(path=str(tmp_path), dtype="float32", gradient_checkpointing=checkpointed)
    data = DataConfig(train="unused", template=PLAIN)
    tokens = tokenize(byte_tokenizer(), comparisons(2).all_items(), data)
    batch = pack(tokens, np.arange(len(tokens)), torch.device("cpu"))
    policy, reference = load_model(config), load_model(config, trainable=False)
    trained = [item_scores(Scorer(policy)(batch), batch) for _ in range(2)]
    torch.testing.assert_close(trained[0], trained[1], rtol=0, atol=0)
    torch.testing.assert_close(trained[0], item_scores(Scorer(reference)(batch), batch), rtol=0, atol=0)
    forwards: list[object] = []
    layer = next(m for name, m in policy.named_modules() if name.endswith("layers.1.self_attn"))
    layer.register_forward_hook(lambda *_: forwards.append(1))
    trained[0].sum().backward()
    assert len(forwards) == checkpointed, "evaluation mode must not switch checkpointing off"


def test_a_path_that_is_no_name_of_the_hub_is_a_folder_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where weights are looked for the hub's library is asked, and speaks of its repositories."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^model\.path \(runs/my/model\): no such folder, seen from .*"):
        weights_folder(ModelConfig(path="runs/my/model"))
