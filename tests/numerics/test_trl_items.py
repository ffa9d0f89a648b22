"""TRL as an independent referee of single items: its stock SFTTrainer and KTOTrainer on the same tokens."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jpo_dist.batches.load import reader_of
from jpo_dist.batches.prepare import prepare
from jpo_dist.config.sft import AnyConfig
from tests.support.procs import run_ranks
from tests.support.runs import config_for, item_trajectories, sft_config_for
from tests.support.tiny import PLAIN, byte_tokenizer, save_tiny, tiny_model

pytestmark = pytest.mark.slow

STEPS, PER_STEP, LR = 6, 4, 1e-3
COMMON: dict[str, Any] = {
    "max_steps": STEPS, "learning_rate": LR, "lr_scheduler_type": "constant", "warmup_steps": 0, "weight_decay": 0.0,
    "max_grad_norm": 0.0, "optim": "adamw_torch", "max_length": None, "train_sampling_strategy": "sequential",
    "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no",
    "disable_tqdm": True,
}  # fmt: skip
ROWS = [
    {"prompt": f"Say {i} in words.", "completion": "word " * (1 + i % 5) + str(i), "label": i % 3 != 0}
    for i in range(STEPS * PER_STEP)
]
"""No two instructions of a step are equal: TRL would put a response under its own."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("trl").setLevel(logging.ERROR)
    torch.set_num_threads(1)


def theirs(trainer: type, settings: Any, **models: Any) -> tuple[list[float], Any]:
    """What the stock trainer lost in each call of compute_loss, and its data set: it logs rounded losses."""
    from datasets import Dataset

    losses: list[float] = []

    class Listening(trainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            found = super().compute_loss(*args, **kwargs)
            losses.append(float(found.detach()))
            return found

    rows = [
        {
            **row,
            "prompt": "<s>" + PLAIN.replace("{instruction}", row["prompt"]),
            "completion": row["completion"] + "</s>",
        }
        for row in ROWS
    ]
    made = Listening(
        model=tiny_model(), args=settings, processing_class=byte_tokenizer(), train_dataset=Dataset.from_list(rows),
        **models,
    )  # fmt: skip
    made.train()
    return losses, made.train_dataset


def ours(configs: list[AnyConfig]) -> list[list[float]]:
    (found,) = run_ranks(item_trajectories, 1, configs, STEPS, group=False)
    return [[step["loss"] for step in done["steps"]] for done in found]


def our_ids(config: AnyConfig) -> list[list[int]]:
    examples, _ = reader_of(config)(config.data.train)
    tokens = prepare(byte_tokenizer(), examples, config.data, config.train).tokens
    return [tokens.ids(row).tolist() for row in examples.winners_C.tolist()]


def write(folder: Path, rows: list[dict[str, Any]]) -> str:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


SAME: dict[str, Any] = {
    "engine": {"zero_stage": 0},
    "optim": {"lr": LR},
    "train": {"items_per_step": PER_STEP, "shuffle": False},
}


def test_the_first_six_losses_of_sft_are_those_of_stock_trl(tmp_path: Path) -> None:
    """TRL in two micro-batches a step, whose losses it divides by the tokens of the whole step."""
    from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]

    data = write(tmp_path, [{"prompt": row["prompt"], "completion": row["completion"]} for row in ROWS])
    model = save_tiny(tmp_path / "model")
    config = sft_config_for(model, data, tmp_path / "run", **SAME)
    whole = sft_config_for(model, data, tmp_path / "run", sft={"instruction_weight": 1.0}, **SAME)
    responses, everything = ours([config, whole])
    settings = {**COMMON, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    for found, completion_only in ((responses, True), (everything, False)):
        args = SFTConfig(output_dir=str(tmp_path / "trl"), completion_only_loss=completion_only, **settings)
        losses, dataset = theirs(SFTTrainer, args)
        assert [row["input_ids"] for row in dataset] == our_ids(config)
        steps = np.array(losses).reshape(STEPS, 2).sum(1)
        np.testing.assert_allclose(found, steps, rtol=0, atol=1e-4)
        assert steps[-1] < steps[0] - 0.1, "nothing was learned: the rest would be equal for no reason"


def test_the_first_six_losses_of_kto_are_those_of_stock_trl(tmp_path: Path) -> None:
    """Its mismatched pairs are ours where a step has no instruction twice: each response under its neighbor's."""
    from trl import KTOConfig, KTOTrainer  # type: ignore[attr-defined]

    model, other = save_tiny(tmp_path / "model"), save_tiny(tmp_path / "other", seed=4)
    objective = {"loss": "kto", "instruction_weight": 0.0, "beta": 0.1, "undesirable_weight": 1.5}
    data = write(tmp_path, ROWS)
    config = config_for(model, data, tmp_path / "run", objective=objective, reference={"path": other}, **SAME)
    args = KTOConfig(
        output_dir=str(tmp_path / "trl"), per_device_train_batch_size=PER_STEP, gradient_accumulation_steps=1,
        beta=0.1, undesirable_weight=1.5, loss_type="kto", **COMMON,
    )  # fmt: skip
    losses, dataset = theirs(KTOTrainer, args, ref_model=tiny_model(seed=4))
    assert [row["prompt_ids"] + row["completion_ids"] for row in dataset] == our_ids(config)
    (found,) = ours([config])
    np.testing.assert_allclose(found, losses, rtol=0, atol=1e-4)
    assert np.ptp(losses) > 1e-2, "nothing was learned: the rest would be equal for no reason"
