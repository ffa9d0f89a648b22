"""SFT and KTO: ranks, micro-steps, ZeRO stage and packing change speed and memory, never the training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jpo_dist.batches.load import reader_of
from jpo_dist.batches.prepare import prepare
from jpo_dist.config.sft import AnyConfig
from tests.support import oracle
from tests.support.procs import run_ranks
from tests.support.runs import config_for, item_trajectories, sft_config_for
from tests.support.tiny import byte_tokenizer, save_tiny, tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STEPS = 3
ALONE, SPLIT, STAGES = "one by one", "packed", (0, 2, 3)


def rows() -> list[dict[str, Any]]:
    """Thumbs on responses of uneven lengths; some instructions come twice, so that steps have equal ones."""
    return [
        {"prompt": f"say {i % 9}", "completion": "yes " * (1 + (i * 5) % 7) + str(i), "label": i % 3 != 0}
        for i in range(22)
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Every run of this file by (method, ranks, stage, how), all of one number of ranks in one process group."""
    folder = tmp_path_factory.mktemp("items")
    model, other = save_tiny(folder / "model"), save_tiny(folder / "other", seed=4)
    data = folder / "thumbs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")

    def config(method: str, stage: int, tokens: int, **sections: Any) -> AnyConfig:
        train = {"items_per_step": 6, "tokens_per_micro_step": tokens} | sections.pop("train", {})
        data_of = {"validation": str(data)}
        same: dict[str, Any] = {"engine": {"zero_stage": stage}, "train": train, "data": data_of, **sections}
        if method == "sft":  # thumbs-down items are left out
            return sft_config_for(model, str(data), folder / "run", sft={"instruction_weight": 0.3}, **same)
        objective = {"loss": "kto", "instruction_weight": 0.3, "undesirable_weight": 1.5}
        same = {"reference": {"path": other}} | same
        return config_for(model, str(data), folder / "run", objective=objective, **same)

    lora = {"model": {"path": model, "dtype": "float32", "lora": {"rank": 4}}}
    alone = {(m, 1, 0, ALONE): config(m, 0, 70) for m in ("sft", "kto")}
    alone |= {(m, 1, 0, SPLIT): config(m, 0, 4096) for m in ("sft", "kto")}
    alone |= {("sft", 1, 0, "shared"): config("sft", 0, 4096, train={"share_instructions": True})}
    two = {(m, 2, stage, SPLIT): config(m, stage, 140) for m in ("sft", "kto") for stage in STAGES}
    two |= {
        ("lora", 2, 3, mode): config("lora", 3, 140, **lora, reference={"mode": mode})
        for mode in ("live", "adapter_off")
    }
    found = {}
    for ranks, configs in ((1, alone), (2, two)):
        results = run_ranks(item_trajectories, ranks, list(configs.values()), STEPS, group=False, timeout=600)
        for result in results[1:]:
            assert [r["steps"] for r in result] == [r["steps"] for r in results[0]], "metrics differ between ranks"
        found |= dict(zip(configs, results[0], strict=True))
    return found


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    for left, right in zip(a["steps"], b["steps"], strict=True):
        assert left.keys() == right.keys()
        for name in left.keys() - {"micro_steps", "grad_norm"}:
            np.testing.assert_allclose(left[name], right[name], rtol=2e-5, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(left["grad_norm"], right["grad_norm"], rtol=1e-3)
    assert a["eval"].keys() == b["eval"].keys()
    for name, value in a["eval"].items():
        assert value == pytest.approx(b["eval"][name], rel=1e-4, abs=1e-4), name
    for name, weight in a["weights"].items():
        np.testing.assert_allclose(weight, b["weights"][name], rtol=0, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("method", ["sft", "kto"])
def test_packed_equals_one_by_one(runs: dict[Any, dict[str, Any]], method: str) -> None:
    """Losses and weights; one by one, a micro-step holds an item or two and has as many forwards."""
    one, packed = runs[method, 1, 0, ALONE], runs[method, 1, 0, SPLIT]
    assert {step["micro_steps"] for step in packed["steps"]} == {1}
    assert min(step["micro_steps"] for step in one["steps"][:2]) > 2
    assert_same(one, packed)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("method", ["sft", "kto"])
def test_two_ranks_equal_one(runs: dict[Any, dict[str, Any]], method: str, stage: int) -> None:
    split = runs[method, 2, stage, SPLIT]
    assert max(step["micro_steps"] for step in split["steps"]) > 1
    assert_same(runs[method, 1, 0, ALONE], split)
    assert split["eval"]["eval/examples"] == (22 if method == "kto" else 14)


def test_instructions_computed_once_change_nothing(runs: dict[Any, dict[str, Any]]) -> None:
    assert_same(runs["sft", 1, 0, SPLIT], runs["sft", 1, 0, "shared"])


def test_kto_with_the_adapter_off_equals_a_live_reference(runs: dict[Any, dict[str, Any]]) -> None:
    """The first step's loss is by hand: nothing has moved, so half the weight of each label."""
    off = runs["lora", 2, 3, "adapter_off"]
    assert_same(off, runs["lora", 2, 3, "live"])
    assert off["steps"][0]["kl"] == pytest.approx(0, abs=1e-5)
    assert off["steps"][0]["loss"] in [pytest.approx(0.5 + 0.25 * n / 6, abs=1e-6) for n in range(7)]
    assert abs(off["steps"][-1]["rewards/margins"]) > 1e-4, "the adapter did not learn"


def test_the_losses_of_the_first_step_are_those_of_the_float64_oracle(tmp_path: Path) -> None:
    """SFT and KTO in one: loss and gradient norm from the naive log-probs, the mismatched pairs drawn up anew here."""
    folder, data = save_tiny(tmp_path / "model"), tmp_path / "thumbs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    train = {"items_per_step": 6, "shuffle": False}
    objective = {"loss": "kto", "instruction_weight": 0.3, "undesirable_weight": 1.5}
    other = save_tiny(tmp_path / "other", seed=4)
    sft = sft_config_for(folder, str(data), tmp_path / "run", sft={"instruction_weight": 0.3}, train=train)
    kto = config_for(folder, str(data), tmp_path / "run", objective=objective, train=train, reference={"path": other})
    (found,) = run_ranks(item_trajectories, 1, [sft, kto], 1, group=False)
    for config, done in zip((sft, kto), found, strict=True):
        examples, _ = reader_of(config)(config.data.train)
        tokens = prepare(byte_tokenizer(), examples, config.data, config.train).tokens
        first = examples.winners_C[:6].tolist()
        policy, reference = tiny_model().double(), tiny_model(seed=4).double()
        loss = (
            oracle.sft_loss(policy, tokens, first, 0.3)
            if config is sft
            else oracle.kto_loss(policy, reference, tokens, first, [i % 3 != 0 for i in range(6)], 0.3, (1.0, 1.5))
        )
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in policy.parameters() if p.grad is not None])
        (step,) = done["steps"]
        assert step["loss"] == pytest.approx(loss.item(), rel=1e-5)
        assert config is sft or step["kl"] > 1, "z0 was zero and could be anything"
        assert step["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
