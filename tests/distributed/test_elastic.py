"""A commit of one number of ranks goes on with another: 2 -> 1 -> 2, for every ZeRO stage and for adapters.

Their folders have brackets and a star in their names, which DeepSpeed takes for patterns.

One process group trains all the configurations one after another: starting processes costs more than the steps.
"""

import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jpo_dist.config.run import JpoConfig
from jpo_dist.distributed import ranks
from tests.support.commands import lines_of
from tests.support.procs import Outcome, run_ranks
from tests.support.runs import config_for
from tests.support.tiny import comparisons, save_tiny, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Two groups (with and without weight decay) and sub-groups of a few parameters: what DeepSpeed itself restores wrongly.
KINDS: dict[str, dict[str, Any]] = {
    "zero3": {"engine": {"zero_stage": 3, "sub_group_size": 5000}},
    "zero2": {"engine": {"zero_stage": 2}},
    "zero1": {"engine": {"zero_stage": 1}},
    "zero0": {"engine": {"zero_stage": 0}},
    "lora": {"engine": {"zero_stage": 3}, "model": {"lora": {"rank": 4}}, "reference": {"mode": "adapter_off"}},
    "refreshed": {"engine": {"zero_stage": 3}, "reference": {"refresh_every": 2, "refresh_share": 0.5}},
    "bfloat16": {"engine": {"zero_stage": 3}, "model": {"dtype": "bfloat16"}},
}
TOLERANCE = {"bfloat16": 5e-3}
FEW = ("zero3", "lora")
"""There and back again, and with an adapter: these are no nightly test."""
STEPS = 6


class Stop(Exception):
    pass


def train(config: JpoConfig, until: int) -> dict[str, np.ndarray]:
    """Go on as far as the commit of step `until`; the weights then. All ranks call it."""
    import torch

    from jpo_dist.train import loop, resume

    torch.set_num_threads(1)
    weights: dict[str, np.ndarray] = {}
    commit = resume.save

    def save(setup: Any, *rest: Any) -> None:  # the engine, where nothing else hands it out
        commit(setup, *rest)
        weights.update({name: t.float().numpy() for name, t in setup.policy.whole_parameters(trainable_only=True)})

    def stop(step: int, metrics: dict[str, Any], is_last: bool) -> None:
        if step == until:
            raise Stop

    loop.save = save
    try:
        loop.run(config, stop, 60)
    except Stop:
        pass
    finally:
        loop.save = commit
    return weights


def train_each(configs: dict[str, JpoConfig], until: int) -> dict[str, dict[str, np.ndarray]]:
    return {kind: train(config, until) for kind, config in configs.items()}


@pytest.fixture(scope="module", params=[FEW, pytest.param(tuple(KINDS), marks=pytest.mark.nightly)], ids=["few", "all"])
def configs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, JpoConfig]:
    folder = tmp_path_factory.mktemp("elastic")
    model, data = save_tiny(folder / "model"), write_jsonl(folder / "data.jsonl", comparisons(40))
    common: dict[str, Any] = {
        "train": {"max_steps": STEPS, "comparisons_per_step": 6, "tokens_per_micro_step": 400},
        "checkpoint": {"every": 2, "keep": 9, "other_ranks": "convert"},
        "optim": {"weight_decay": 0.1},
    }
    return {
        kind: config_for(model, data, folder / f"{kind} [a]*", **{**common, **KINDS[kind]}) for kind in request.param
    }


def in_copy(config: JpoConfig, folder: Path, newest: int) -> JpoConfig:
    """The run in another folder, as it was at the commit of step `newest`."""
    shutil.copytree(config.run.dir, folder)
    for commit in (folder / "checkpoints").glob("step-*"):
        if int(commit.name.removeprefix("step-")) > newest:
            shutil.rmtree(commit)
    return config.model_copy(update={"run": config.run.model_copy(update={"dir": str(folder)})})


def losses(config: JpoConfig) -> np.ndarray:
    return np.array([line["metrics"]["loss"] for line in lines_of(Path(config.run.dir)) if line["step"]])


@pytest.fixture(scope="module")
def two_ranks(configs: dict[str, JpoConfig]) -> dict[str, dict[str, np.ndarray]]:
    """The uninterrupted runs of two ranks; their weights at the end."""
    weights: dict[str, dict[str, np.ndarray]] = run_ranks(train_each, 2, configs, STEPS)[0]
    return weights


def assert_close(weights: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float) -> None:
    assert weights.keys() == expected.keys()
    assert max(float(np.abs(weights[name] - expected[name]).max()) for name in weights) < tolerance


def test_two_ranks_then_one_then_two_train_as_two_do(
    configs: dict[str, JpoConfig], two_ranks: dict[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    copies = {kind: in_copy(config, tmp_path / f"{kind} [b]*", newest=2) for kind, config in configs.items()}
    there_and_back = copies.pop("zero3")
    one: dict[str, dict[str, np.ndarray]] = run_ranks(_one_rank, 1, there_and_back, copies)[0]
    left = {path.name for config in copies.values() for path in Path(config.run.dir, "checkpoints").iterdir()}
    assert left == {"step-00000002", "step-00000004", "step-00000006"}, "a converted folder was left"
    one["zero3"] = run_ranks(train, 2, there_and_back, STEPS)[0]
    for kind, config in configs.items():
        tolerance = TOLERANCE.get(kind, 2e-6)
        got = losses(copies.get(kind, there_and_back))
        np.testing.assert_allclose(got, losses(config), atol=tolerance, rtol=0, err_msg=kind)
        assert_close(one[kind], two_ranks[kind], tolerance)


def _one_rank(there_and_back: JpoConfig, copies: dict[str, JpoConfig]) -> dict[str, dict[str, np.ndarray]]:
    train(there_and_back, 4)
    return train_each(copies, STEPS)


@pytest.mark.nightly
def test_killed_while_converting_leaves_nothing_that_counts_and_the_next_start_converts_anew(
    configs: dict[str, JpoConfig], two_ranks: Any, tmp_path: Path
) -> None:
    config = in_copy(configs["zero3"], tmp_path / "run", newest=4)
    folder = tmp_path / "run" / "checkpoints"
    outcome: Outcome = run_ranks(train, 1, config, STEPS, env={"JPO_FAULT": "reshape:mid@0@4"}, check=False)[0]
    assert outcome.exit_code == -signal.SIGKILL
    left = sorted(path.name for path in folder.iterdir())
    assert left[1:] == ["step-00000002", "step-00000004"]
    assert left[0].startswith(".old-reshaped-step-00000004-"), left
    run_ranks(train, 1, config, STEPS)
    assert sorted(path.name for path in folder.iterdir()) == [f"step-0000000{step}" for step in (2, 4, 6)]
    np.testing.assert_allclose(losses(config), losses(configs["zero3"]), atol=2e-6, rtol=0)


def _refused(config: JpoConfig, **checkpoint: Any) -> str:
    from jpo_dist.train.loop import run

    changed = config.model_copy(update={"checkpoint": config.checkpoint.model_copy(update=checkpoint)})
    try:
        run(changed, None, 60)
    except ValueError as error:
        return f"{ranks.rank()} {error}"
    return ""


def test_without_the_setting_it_is_refused_before_a_model_is_loaded(
    configs: dict[str, JpoConfig], two_ranks: Any, tmp_path: Path
) -> None:
    config = in_copy(configs["zero3"], tmp_path / "run", newest=4)
    said = run_ranks(_refused_all, 1, config)[0]
    assert said["refuse"].endswith(
        "was written by 2 ranks, now there are 1; "
        "set cluster.workers=2, or checkpoint.other_ranks=convert to go on with 1"
    )
    assert "it needs" in said["full"]
    assert "MiB are free. Free space, or set cluster.workers=2" in said["full"]
    assert "was written with engine.zero_stage=3, now it is 2; set it back" in said["stage"]


def _refused_all(config: JpoConfig) -> dict[str, str]:
    from jpo_dist.checkpoint import run_folder
    from jpo_dist.train import loop

    loop.set_up = None  # type: ignore[assignment]  # what loads models
    said = {"refuse": _refused(config, other_ranks="refuse")}
    stage_2 = config.model_copy(update={"engine": config.engine.model_copy(update={"zero_stage": 2})})
    said["stage"] = _refused(stage_2)
    run_folder.free_bytes = lambda run_dir: 1000
    try:
        _refused(config)
    except run_folder_error() as error:
        said["full"] = str(error)
    return said


def run_folder_error() -> type[Exception]:
    from jpo_dist.checkpoint.commit import DiskFullError

    return DiskFullError
