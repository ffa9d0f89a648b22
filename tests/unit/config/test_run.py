"""Sections are checked together: settings that contradict each other are refused with the fix."""

from typing import Any

import pytest
from pydantic import ValidationError

from jpo_dist.config.run import JpoConfig
from tests.support.configs import merged, refusal


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"reference": {"mode": "adapter_off"}}, ["reference.mode (adapter_off)", "model.lora.rank", "use live"]),
        (
            {"reference": {"mode": "adapter_off", "path": "other"}, "model": {"lora": {"rank": 4}}},
            ["reference.path (other)", "must be model.path"],
        ),
        (
            {"reference": {"path": "other"}, "model": {"trust_remote_code": True, "revision": "a" * 40}},
            ["model.trust_remote_code (true) with reference.path (other)", "reference.revision (now None)", "pin it"],
        ),
        ({"reference": {"revision": "v1"}}, ["reference.revision (v1)", "reference.path", "use model.revision"]),
        (
            {"objective": {"loss": "kto"}, "reference": {"mode": "cached"}},
            ["reference.mode (cached) cannot serve objective.loss=kto", "use live, or adapter_off"],
        ),
        ({"objective": {"loss": "kto", "sft_weight": 0.1}}, ["sft_weight (0.1)", "not loss=kto", "use 0"]),
        ({"objective": {"loss": "ipo", "label_smoothing": 0.1}}, ["label_smoothing (0.1)", "not ipo", "use 0"]),
        ({"objective": {"gamma": 1.0}}, ["gamma (1.0) works with loss=simpo, not sigmoid; use 0.5"]),
        (
            {"objective": {"tie_probability": 0.2}},
            ["tie_probability (0.2) works with loss=davidson or rao_kupper, not sigmoid; use 0.5"],
        ),
        ({"objective": {"ties": "use"}}, ["ties (use) needs loss=davidson or rao_kupper, not sigmoid; use drop"]),
        (
            {"objective": {"similarity_temperature": 0.1}},
            ["similarity_temperature (0.1) has no effect with similarity=none; use 0.5, or set similarity"],
        ),
        (
            {"objective": {"similarity": "inside", "loss": "ipo"}},
            ["similarity (inside) works with loss=sigmoid, not ipo; use outside"],
        ),
        ({"objective": {"loss": "simpo"}}, ["objective.loss (simpo)", "reference.mode is live", "reference.mode=none"]),
        ({"reference": {"mode": "none"}}, ["reference.mode (none)", "loss=sigmoid_norm or simpo, not sigmoid"]),
        (
            {"reference": {"mode": "none", "path": "other"}, "objective": {"loss": "simpo"}},
            ["reference.path (other) is not read with reference.mode=none; drop it"],
        ),
        (
            {"engine": {"zero_stage": 2, "offload_params": {"device": "cpu"}}},
            ["offload_params needs zero_stage=3", "now 2"],
        ),
        ({"engine": {"zero_stage": 0, "offload_optimizer": {"device": "cpu"}}}, ["offload_optimizer needs zero_stage"]),
        ({"engine": {"offload_optimizer": {"device": "nvme"}}}, ["nvme_path (None)", "name a folder"]),
        (
            {"engine": {"zero_stage": 1, "grad_accum_dtype": "float32"}},
            ["needs zero_stage 2 or 3 (now 1)", "use model"],
        ),
        (
            {"engine": {"zero_stage": 2, "grad_accum_dtype": "float32", "offload_optimizer": {"device": "cpu"}}},
            ["zero_stage=2 and offload_optimizer (cpu)", "use zero_stage=3"],
        ),
        (
            {"reference": {"mode": "cached", "refresh_every": 5}},
            ["reference.refresh_every (5)", "mode=cached", "use mode=live, or refresh_every=0"],
        ),
        ({"reference": {"refresh_share": 0.5}}, ["refresh_share (0.5)", "set refresh_every, or use 1"]),
        (
            {"reference": {"refresh_every": 5}, "model": {"lora": {"rank": 4}}},
            ["reference.refresh_every (5)", "model.lora.rank (4)", "use refresh_every=0, or rank 0"],
        ),
        (
            {
                "reference": {"refresh_every": 5},
                "engine": {"offload_params": {"device": "nvme", "nvme_path": "/disk"}},
            },
            ["reference.refresh_every (5)", "offload_params.device is nvme", "use cpu"],
        ),
        ({"data": {"template": "### Response:"}}, ["data.template ('### Response:')", "{instruction}", "say chat"]),
        (
            {"data": {"max_length": 64, "max_instruction_length": 64, "over_long": "truncate"}},
            ["max_instruction_length (64)", "max_length (64)", "lower it"],
        ),
        ({"model": {"trust_remote_code": True}}, ["trust_remote_code (true)", "40-hex commit", "pin it"]),
        ({"model": {"trust_remote_code": True, "revision": "main"}}, ["now 'main'", "pin it"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_the_fix(
    sections: dict[str, Any], words: list[str]
) -> None:
    message = refusal(**sections)
    assert [word for word in words if word not in message] == []


def test_the_method_refuses_unknown_keys_without_the_launcher() -> None:
    with pytest.raises(ValidationError, match=r"objective\.bta\n.*not permitted"):
        JpoConfig.model_validate(merged({"objective": {"bta": 1}}))
    with pytest.raises(ValidationError, match="cluster"):
        JpoConfig.model_validate(merged({"cluster": {"workers": 1}}))
