"""Ranks, micro-steps, ZeRO stage and reference mode change speed and memory, never the training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jpo_dist.batches.prepare import prepare
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sections import OptimConfig
from jpo_dist.model.deepspeed_settings import deepspeed_config
from tests.support import oracle
from tests.support.procs import run_ranks
from tests.support.runs import config_for, trajectory
from tests.support.tiny import byte_tokenizer, comparisons, save_tiny, tiny_model, write_jsonl

pytestmark = pytest.mark.slow
STEPS = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("invariance")
    return {
        "model": save_tiny(folder / "model"),
        "tied": save_tiny(folder / "tied", tied=True),
        "other": save_tiny(folder / "other", seed=1),
        "data": write_jsonl(folder / "data.jsonl", comparisons(14)),
        "run": str(folder / "run"),
    }


def run(files: dict[str, str], num_ranks: int, which: str = "model", **sections: Any) -> dict[str, Any]:
    config = config_for(files[which], files["data"], files["run"], **sections)
    results = run_ranks(trajectory, num_ranks, config, STEPS, group=False)
    for other in results[1:]:
        assert other["steps"] == results[0]["steps"], "metrics differ between ranks"
    return results[0]


def assert_same(a: dict[str, Any], b: dict[str, Any], tolerance: float = 2e-5) -> None:
    for left, right in zip(a["steps"], b["steps"], strict=True):
        assert left["comparisons"] == right["comparisons"]
        np.testing.assert_allclose(left["loss"], right["loss"], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(left["grad_norm"], right["grad_norm"], rtol=1e-3)
    for name, weight in a["weights"].items():
        np.testing.assert_allclose(weight, b["weights"][name], rtol=0, atol=2e-4, err_msg=name)


@pytest.fixture(scope="module")
def alone(files: dict[str, str]) -> dict[str, Any]:
    """One rank, one micro-step a step, no partitioning: what all others must equal."""
    return run(files, 1, engine={"zero_stage": 0})


def test_first_step_equals_the_float64_oracle(files: dict[str, str], alone: dict[str, Any]) -> None:
    """Loss ln 2 and the gradient norm of the naive objective."""
    config = config_for(files["model"], files["data"], files["run"])
    from jpo_dist.batches.plan import make_plan
    from jpo_dist.data import read

    found, _ = read.read(files["data"], on_bad_row="error")
    data = prepare(byte_tokenizer(), found, config.data, config.train)
    step = make_plan(data, config.train, 1).step(0)
    model = tiny_model().double()
    edges = [(int(found.winners_C[c]), int(found.losers_C[c]), float(found.weights_C[c])) for c in step.comparisons_C]
    loss = oracle.jpo_loss(model, tiny_model().double(), data.tokens, edges)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    assert loss.item() == pytest.approx(oracle.LN2, abs=1e-12)
    np.testing.assert_allclose(alone["steps"][0]["loss"], oracle.LN2, atol=1e-6)
    assert alone["steps"][0]["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_and_many_micro_steps_equal_one_rank_and_one(
    files: dict[str, str], alone: dict[str, Any], stage: int
) -> None:
    """ZeRO-2 kept only the last micro-step's gradient where the boundary was not said."""
    split = run(files, 2, engine={"zero_stage": stage}, train={"tokens_per_micro_step": 140})
    assert all(step["micro_steps"] > 1 for step in split["steps"][:2])
    assert_same(alone, split)


def test_scoring_what_both_items_begin_with_changes_nothing(files: dict[str, str], alone: dict[str, Any]) -> None:
    """By default the shared prefix is not scored. Here it is, and many items have several comparisons."""
    whole = run(files, 2, train={"score_shared_prefix": True, "tokens_per_micro_step": 140})
    assert_same(alone, whole)


def test_instructions_computed_once_change_nothing(files: dict[str, str], alone: dict[str, Any]) -> None:
    shared = run(files, 2, train={"share_instructions": True, "tokens_per_micro_step": 140})
    assert_same(alone, shared)


def test_four_ranks_some_without_items_equal_one(files: dict[str, str], alone: dict[str, Any]) -> None:
    """A micro-step of few items leaves ranks without any: they take part with a filler and add nothing."""
    assert_same(alone, run(files, 4, train={"tokens_per_micro_step": 130}))


def test_tied_head_and_checkpointing_under_zero3_equal_plain(files: dict[str, str]) -> None:
    plain = run(files, 1, "tied", engine={"zero_stage": 0})
    assert_same(plain, run(files, 2, "tied"))
    recomputing = {"path": files["tied"], "dtype": "float32", "gradient_checkpointing": True}
    assert_same(plain, run(files, 2, "tied", model=recomputing))


def reference_passes(configs: list[JpoConfig]) -> list[tuple[int, int, list[float]]]:
    """(micro-steps, forwards of the reference, losses) of a step under each config, one after another."""
    from torch.nn.modules.module import register_module_forward_pre_hook

    from jpo_dist.model.engine import connect
    from jpo_dist.model.scorer import Scorer
    from jpo_dist.objective import metrics
    from jpo_dist.train.loop import take_step
    from jpo_dist.train.setup import set_up

    connect(60)
    forwards: list[Scorer] = []

    def note(module: torch.nn.Module, _: Any) -> None:
        if isinstance(module, Scorer) and not torch.is_grad_enabled():
            forwards.append(module)

    found = []
    for config in configs:
        setup = set_up(config)
        step = setup.plan.step(0)
        forwards.clear()
        with register_module_forward_pre_hook(note):
            _, meter = take_step(setup, step)
        losses = metrics.column(meter.table()[1], "loss").tolist()
        found.append((len(step.micro_steps), len(forwards), losses))
    return found


def test_a_live_reference_scores_a_step_in_one_pass(files: dict[str, str], tmp_path: Path) -> None:
    """However many micro-steps: under ZeRO-3 each forward gathers all parameters. Less only where the key says so."""
    data = write_jsonl(tmp_path / "data.jsonl", comparisons(28))
    train = {"comparisons_per_step": 28, "tokens_per_micro_step": 120}
    keys = ({}, {"tokens_per_pass": 900}, {"tokens_per_pass": 1})
    configs = [
        config_for(files["model"], data, files["run"], train=train, reference={"path": files["other"], **key})
        for key in keys
    ]
    per_rank = run_ranks(reference_passes, 2, configs, group=False)
    assert per_rank[0] == per_rank[1]
    micro_steps, _, losses = per_rank[0][0]
    assert micro_steps > 8
    assert [forwards for _, forwards, _ in per_rank[0]] == [1, 2, micro_steps]
    for _, _, other in per_rank[0][1:]:
        np.testing.assert_allclose(other, losses, rtol=1e-5)


@pytest.mark.parametrize("stage", [0, 3])
def test_cached_reference_equals_live(files: dict[str, str], stage: int, tmp_path: Path) -> None:
    """With another model as reference, so that step 0 is not ln 2 whatever is looked up."""
    other = {"path": files["other"], "cache_dir": str(tmp_path)}
    engine = {"zero_stage": stage}
    live = run(files, 2, engine=engine, reference={"mode": "live", **other})
    assert np.abs(np.array(live["steps"][0]["loss"]) - oracle.LN2).max() > 0.1
    cached = run(files, 2, engine=engine, reference={"mode": "cached", **other})
    again = run(files, 2, engine=engine, reference={"mode": "cached", **other})
    assert_same(live, cached, tolerance=1e-6)
    assert again["steps"] == cached["steps"], "a warm cache gives the very same run"
    assert len(list(tmp_path.glob("*/part-*.parquet"))) == 1, "the second run scored items again"


def test_adapter_off_equals_cached_and_live_with_lora(files: dict[str, str], tmp_path: Path) -> None:
    lora = {"model": {"path": files["model"], "dtype": "float32", "lora": {"rank": 4}}}
    runs = {
        mode: run(files, 2, **lora, reference={"mode": mode, "cache_dir": str(tmp_path)})
        for mode in ("adapter_off", "cached", "live")
    }
    np.testing.assert_allclose(runs["adapter_off"]["steps"][0]["loss"], oracle.LN2, atol=1e-6)
    assert abs(np.mean(runs["adapter_off"]["steps"][-1]["loss"]) - oracle.LN2) > 1e-4, "the adapter did not learn"
    assert_same(runs["adapter_off"], runs["cached"])
    assert_same(runs["adapter_off"], runs["live"])


def test_the_sft_term_is_the_same_on_two_ranks_and_changes_the_training(
    files: dict[str, str], alone: dict[str, Any]
) -> None:
    objective = {"sft_weight": 0.5}
    one = run(files, 1, engine={"zero_stage": 0}, objective=objective)
    assert_same(one, run(files, 2, objective=objective, train={"tokens_per_micro_step": 140}))
    assert min(one["steps"][0]["loss"]) > max(alone["steps"][0]["loss"]), "the term is a positive loss on top of ln 2"


@pytest.mark.parametrize("stage", [0, pytest.param(3, marks=pytest.mark.nightly)])
def test_a_clip_of_zero_or_none_clips_nothing(files: dict[str, str], stage: int) -> None:
    """As the trainers that people come from mean it; a limit that is never reached is the oracle."""
    settings = {
        clip: deepspeed_config(EngineConfig(), torch.float32, OptimConfig(grad_clip=clip)) for clip in (0, None)
    }
    assert settings[None] == settings[0]
    never, zero, always = (
        run(files, 1, optim={"grad_clip": clip}, engine={"zero_stage": stage}) for clip in (1e9, 0, 1e-3)
    )
    assert zero["steps"] == never["steps"]
    for name, weight in never["weights"].items():
        np.testing.assert_array_equal(zero["weights"][name], weight, err_msg=name)
    assert [step["loss"] for step in always["steps"]] != [step["loss"] for step in never["steps"]]
