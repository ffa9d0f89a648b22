"""TR-DPO: the reference takes on the policy's weights, to the last bit, however they are split among ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jpo_dist.config.run import JpoConfig
from tests.support.oracle import LN2
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import comparisons, save_tiny, write_jsonl

pytestmark = pytest.mark.slow
EVERY, STEPS, SHARE = 2, 4, 0.25

KINDS: dict[str, dict[str, Any]] = {
    "zero0": {"engine": {"zero_stage": 0}},
    "zero2": {"engine": {"zero_stage": 2}},
    "zero3": {},
    "kept whole": {"engine": {"param_persistence_threshold": 100_000}},
    "hard": {"reference": {"refresh_share": 1.0}},
    "bfloat16": {"model": {"dtype": "bfloat16"}, "optim": {"lr": 0.05}},
}


UNSEEN = "kept whole"
"""What ZeRO-3 keeps whole on every rank it has twice, as a shard too. To look at it would be to drop the whole one."""


def refreshed(config: JpoConfig, look: bool = True) -> dict[str, Any]:
    """Losses of the first steps, and around each refresh the weights of policy and reference, unless not to `look`."""
    from jpo_dist.model.engine import connect, whole_parameters
    from jpo_dist.objective import metrics
    from jpo_dist.objective.reference import Live
    from jpo_dist.train import refresh
    from jpo_dist.train.loop import take_step
    from jpo_dist.train.setup import set_up

    torch.set_num_threads(1)
    connect(200)
    setup = set_up(config)
    assert isinstance(setup.reference, Live)
    frozen = getattr(setup.reference.module, "module", setup.reference.module)

    def weights(module: torch.nn.Module) -> dict[str, np.ndarray]:
        return {name: t.float().numpy() for name, t in whole_parameters(module, config.engine.zero_stage)}

    losses, around = [], []
    for step in list(setup.plan.steps())[:STEPS]:
        _, meter = take_step(setup, step)
        losses.append(metrics.column(meter.table()[1], "loss").tolist())
        seen = [weights(setup.policy.module), weights(frozen)] if look else []
        refresh.refresh(setup, step.index + 1)
        around.append((*seen, weights(frozen)) if look else ())
    return {"losses": losses, "around": around}


def refreshed_each(configs: dict[str, JpoConfig]) -> dict[str, dict[str, Any]]:
    return {kind: refreshed(config, look=kind != UNSEEN) for kind, config in configs.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("refresh")
    model, data = save_tiny(folder / "model"), write_jsonl(folder / "data.jsonl", comparisons(14))
    often = {"refresh_every": EVERY, "refresh_share": SHARE}
    configs = {
        kind: config_for(
            model, data, folder / "run",
            **{**sections, "reference": {**often, **sections.get("reference", {})}},
        )
        for kind, sections in KINDS.items()
    }  # fmt: skip
    return {count: run_ranks(refreshed_each, count, configs, group=False)[0] for count in (1, 2)}


@pytest.mark.parametrize("num_ranks", [1, 2])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != UNSEEN])
def test_the_reference_is_the_mixture_to_the_last_bit_and_otherwise_stays(
    kind: str, num_ranks: int, runs: dict[int, dict[str, dict[str, Any]]]
) -> None:
    share = np.float32(1.0 if kind == "hard" else SHARE)
    for step, (policy, before, after) in enumerate(runs[num_ranks][kind]["around"], 1):
        assert policy.keys() == before.keys() == after.keys()
        for name, old in before.items():
            mixed = share * policy[name] + (1 - share) * old
            if kind == "bfloat16":
                mixed = torch.from_numpy(mixed).bfloat16().float().numpy()
            np.testing.assert_array_equal(after[name], old if step % EVERY else mixed, err_msg=f"{step} {name}")
        assert step % EVERY or any((after[name] != before[name]).any() for name in before)


@pytest.mark.parametrize("kind", ["zero2", "zero3", UNSEEN])
def test_the_refreshed_reference_scores_the_same_on_any_ranks(
    kind: str, runs: dict[int, dict[str, dict[str, Any]]]
) -> None:
    """Without ZeRO the weights that were changed are the ones that the forward reads; elsewhere copies could be."""
    for count in (1, 2):
        for ours, plain in zip(runs[count][kind]["losses"], runs[1]["zero0"]["losses"], strict=True):
            np.testing.assert_allclose(ours, plain, rtol=2e-5, atol=2e-5)


def test_after_a_hard_refresh_all_begins_anew(runs: dict[int, dict[str, dict[str, Any]]]) -> None:
    for count in (1, 2):
        losses = runs[count]["hard"]["losses"]
        np.testing.assert_allclose(losses[EVERY], LN2, atol=1e-6)
        assert abs(np.mean(losses[EVERY - 1]) - LN2) > 1e-4
        assert abs(np.mean(runs[count]["zero3"]["losses"][EVERY]) - LN2) > 1e-4


def test_a_reference_of_another_shape_is_refused_before_training(tmp_path: Path) -> None:
    config = config_for(
        save_tiny(tmp_path / "model"), write_jsonl(tmp_path / "data.jsonl", comparisons(6)), tmp_path / "run",
        reference={"path": save_tiny(tmp_path / "wide", intermediate_size=64), "refresh_every": 7},
        engine={"zero_stage": 0},
    )  # fmt: skip
    (outcome,) = run_ranks(refreshed, 1, config, group=False, check=False)
    assert "ValueError: reference.refresh_every (7) mixes the weights of policy and reference" in outcome.error
