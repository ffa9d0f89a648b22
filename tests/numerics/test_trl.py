"""TRL as an independent referee: its stock DPOTrainer on an empty prompt and instruction + response computes JPO."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jpo_dist.batches.prepare import prepare
from jpo_dist.data import read
from tests.support.oracle import LN2
from tests.support.procs import run_ranks
from tests.support.runs import config_for, trajectory
from tests.support.tiny import PLAIN, byte_tokenizer, save_tiny, tiny_model

pytestmark = pytest.mark.slow

FILE = Path(__file__).resolve().parents[2].parent / "shared/data/helpful/val_conditional_pref.jsonl"
STEPS, PER_STEP, LR, BETA = 6, 4, 1e-3, 0.1


def made_rows() -> list[dict[str, str]]:
    texts = [
        (f"Say {i} in words.", "word " * (1 + i % 5) + str(i), "no" * (1 + i % 7)) for i in range(STEPS * PER_STEP)
    ]
    return [{"i_chosen": i, "r_chosen": w, "i_reject": i, "r_reject": l} for i, w, l in texts]  # noqa: E741


def joint_rows() -> list[dict[str, str]]:
    """Real rows where they are at hand, each winner against the next one's loser: JPO is not DPO on them."""
    rows = made_rows()
    if FILE.is_file():
        real = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in real if sum(map(len, row.values())) < 400][: STEPS * PER_STEP]
    assert len(rows) == STEPS * PER_STEP
    others = rows[1:] + rows[:1]
    return [
        row | {name: other[name] for name in ("i_reject", "r_reject")} for row, other in zip(rows, others, strict=True)
    ]


def trl_losses(
    rows: list[dict[str, str]], folder: Path, prompt: str = "", **how: Any
) -> tuple[list[float], list[list[int]]]:
    """Losses of the first steps, and the chosen and rejected ids that TRL made. `prompt` begins every text."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]

    whole = lambda row, side, role: (  # noqa: E731
        ("" if prompt else "<s>") + PLAIN.replace("{instruction}", row[f"i_{side}"]) + row[f"r_{role}"] + "</s>"
    )
    text = [
        {"prompt": prompt, "chosen": whole(row, "chosen", "chosen"), "rejected": whole(row, "reject", "reject")}
        for row in rows
    ]
    losses: list[float] = []

    class Listening(DPOTrainer):
        """The stock trainer; it logs rounded losses, so they are noted on their way out."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            found = super().compute_loss(*args, **kwargs)
            losses.append(float(found.detach()))
            return found

    settings = DPOConfig(
        output_dir=str(folder), per_device_train_batch_size=PER_STEP, gradient_accumulation_steps=1, max_steps=STEPS,
        learning_rate=LR, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=0.0,
        optim="adamw_torch", max_length=None, train_sampling_strategy="sequential",
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
        **{"beta": BETA, "loss_type": ["sigmoid"], **how},
    )  # fmt: skip
    trainer = Listening(
        model=tiny_model(), ref_model=tiny_model(), args=settings, processing_class=byte_tokenizer(),
        train_dataset=Dataset.from_list(text),
    )  # fmt: skip
    assert all(len(row["prompt_ids"]) == bool(prompt) for row in trainer.train_dataset)
    ids = [row[side] for row in trainer.train_dataset for side in ("chosen_ids", "rejected_ids")]
    trainer.train()
    return losses, ids


def our_losses(
    rows: list[dict[str, str]], folder: Path, reference: dict[str, Any] | None = None, **objective: Any
) -> tuple[list[float], list[list[int]]]:
    """Losses of the same steps by the package's own loop, and its ids, in TRL's order."""
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = config_for(
        save_tiny(folder / "model"), str(file), folder / "run", engine={"zero_stage": 0}, objective=objective,
        reference=reference or {},
        optim={"lr": LR}, train={"comparisons_per_step": PER_STEP, "shuffle": False},
    )  # fmt: skip
    (done,) = run_ranks(trajectory, 1, config, STEPS, group=False)
    comparisons, _ = read.read(str(file), on_bad_row="error")
    data = prepare(byte_tokenizer(), comparisons, config.data, config.train)
    ends = zip(comparisons.winners_C, comparisons.losers_C, strict=True)
    ids = [data.tokens.ids(int(row)).tolist() for edge in ends for row in edge]
    return [float(np.mean(step["loss"])) for step in done["steps"]], ids


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ranks, no hub, no log of TRL's."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("trl").setLevel(logging.ERROR)
    torch.set_num_threads(1)


def test_the_first_six_losses_are_those_of_stock_trl(tmp_path: Path) -> None:
    """Same tokens, same AdamW, float32, 1e-4. Leaving the instructions out gives losses that are farther away."""
    rows = joint_rows()
    ours, our_ids = our_losses(rows, tmp_path)
    theirs, their_ids = trl_losses(rows, tmp_path / "trl")
    assert our_ids == their_ids
    assert len(ours) == len(theirs) == STEPS
    assert ours[0] == pytest.approx(LN2, abs=1e-6)
    assert min(abs(loss - LN2) for loss in ours[1:]) > 1e-3, (
        "nothing was learned: the rest would be equal for no reason"
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    responses_only, _ = our_losses(rows, tmp_path, instruction_weight=0.0)
    assert np.abs(np.subtract(responses_only, theirs)).max() > 1e-2


@pytest.mark.parametrize(
    ("loss", "theirs"),
    [
        ({"loss": "hinge"}, {"loss_type": ["hinge"]}),
        ({"loss": "robust", "label_smoothing": 0.1}, {"loss_type": ["robust"], "label_smoothing": 0.1}),
        # BOS in the prompt: in the completion TRL counts it among the tokens of the mean, though it has no log-prob.
        ({"loss": "sigmoid_norm", "beta": 2.0}, {"loss_type": ["sigmoid_norm"], "beta": 2.0, "prompt": "<s>"}),
    ],
)
def test_other_losses_are_those_of_stock_trl(loss: dict[str, Any], theirs: dict[str, Any], tmp_path: Path) -> None:
    """TRL's ipo is left out: it takes means over tokens, which its paper's equation does not have."""
    rows = joint_rows()
    ours, _ = our_losses(rows, tmp_path, **loss)
    expected, _ = trl_losses(rows, tmp_path / "trl", **theirs)
    assert np.ptp(ours) > 1e-3
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def simpo_losses_of_trl(rows: list[dict[str, str]], folder: Path, **how: Any) -> list[float]:
    """Losses of the first steps by TRL's CPOTrainer, which has SimPO; it logs each step's mean."""
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    whole = lambda row, side, role: PLAIN.replace("{instruction}", row[f"i_{side}"]) + row[f"r_{role}"]  # noqa: E731
    text = [
        {"prompt": "", "chosen": whole(row, "chosen", "chosen"), "rejected": whole(row, "reject", "reject")}
        for row in rows
    ]
    losses: list[float] = []

    class Listening(CPOTrainer):  # type: ignore[misc]
        """The stock trainer; it logs rounded losses, so they are noted on their way out."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            found = super().compute_loss(*args, **kwargs)
            losses.append(float(found.detach()))
            return found

        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    settings = CPOConfig(
        output_dir=str(folder), per_device_train_batch_size=PER_STEP, gradient_accumulation_steps=1, max_steps=STEPS,
        learning_rate=LR, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0, max_grad_norm=0.0,
        optim="adamw_torch", loss_type="simpo", cpo_alpha=0.0, max_length=2000,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", save_strategy="no", disable_tqdm=True,
        **how,
    )  # fmt: skip
    trainer = Listening(
        model=tiny_model(), args=settings, processing_class=byte_tokenizer(), train_dataset=Dataset.from_list(text)
    )
    trainer.train()
    return losses


def test_simpo_losses_are_those_of_stock_trl(tmp_path: Path) -> None:
    """On an empty prompt its mean is over all tokens after BOS, as lambda = 1 has it."""
    rows, settings = joint_rows(), {"beta": 2.0, "gamma": 1.0}
    ours, _ = our_losses(rows, tmp_path, reference={"mode": "none"}, loss="simpo", **settings)
    theirs = simpo_losses_of_trl(rows, tmp_path / "trl", beta=2.0, simpo_gamma=1.0)
    assert np.ptp(ours) > 1e-3
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
