"""Layers that get an adapter, and those that get none."""

from typing import Any

import pytest

from jpo_dist.config.sections import LoraConfig
from jpo_dist.model.adapter import add_adapter
from tests.support.tiny import tiny_model


@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"]])
def test_an_adapter_of_the_head_is_refused(targets: list[str]) -> None:
    """It would be trained by nobody: scores are computed from the head's weight."""
    with pytest.raises(ValueError, match=r"model\.lora\.target_modules \(.*lm_head\) has lm_head.*leave it out"):
        add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=targets))


def test_layers_that_are_not_there_are_answered_with_those_that_are() -> None:
    told = r"^model\.lora\.target_modules \(nope\): .*nope.* not found.*; its layers are .*k_proj.*; or say all-linear$"
    with pytest.raises(ValueError, match=told) as caught:
        add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=["nope"]))
    assert not {"lm_head", "embed_tokens"} & set(str(caught.value).replace(",", " ").split())


@pytest.mark.parametrize("targets", [["q_proj"], "all-linear"])
def test_other_layers_get_adapters(targets: Any) -> None:
    adapted = add_adapter(tiny_model(), LoraConfig(rank=2, target_modules=targets))
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    assert not any("lm_head" in name for name in trained)
