"""What a commit brings back into an engine, and what is the settings' own."""

from pathlib import Path

import numpy as np
import pytest

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import DataConfig, ModelConfig, OptimConfig
from jpo_dist.model.build import build_policy
from jpo_dist.model.device import device
from jpo_dist.model.scorer import pack
from tests.support.procs import run_ranks
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons, save_tiny

pytestmark = pytest.mark.slow

STAGES = 0, 3
FIRST = OptimConfig(lr=1e-3, weight_decay=0.1)
THEN = OptimConfig(lr=1e-3, weight_decay=0.2, betas=(0.5, 0.6), eps=1e-4)


def loaded_with_other_settings(model: str, folder: str) -> dict[int, list[tuple[float, tuple[float, float], float]]]:
    """Weight decay, betas and eps of each group of parameters, by ZeRO stage, of an engine that has loaded a commit of
    another one and made a step."""
    found = {}
    batch = pack(tokenize(byte_tokenizer(), comparisons(2).all_items(), DataConfig(train="x", template=PLAIN)),
                 np.arange(2), device())  # fmt: skip
    for stage in STAGES:
        engines = [
            build_policy(ModelConfig(path=model, dtype="float32"), EngineConfig(zero_stage=stage), optim)
            for optim in (FIRST, THEN)
        ]
        engines[0].backward(-engines[0](batch).sum(), last=True)
        engines[0].step(1e-3)
        place = Path(folder) / str(stage)
        engines[0].save(place, {})
        engines[1].load(place)
        engines[1].backward(-engines[1](batch).sum(), last=True)
        engines[1].step(1e-3)
        groups = engines[1]._engine.optimizer.param_groups
        found[stage] = [(group["weight_decay"], tuple(group["betas"]), group["eps"]) for group in groups]
    return found


def test_how_the_loss_is_minimised_is_what_the_settings_say_also_after_a_commit_is_loaded(tmp_path: Path) -> None:
    """The optimizer's state has the settings that it was written with, and would bring them back without a word."""
    model = save_tiny(tmp_path / "model")
    (found,) = run_ranks(loaded_with_other_settings, 1, model, str(tmp_path))
    for stage, groups in found.items():
        assert groups == [(0.2, (0.5, 0.6), 1e-4), (0.0, (0.5, 0.6), 1e-4)], f"stage {stage}"
