"""The arm to beat: TRL's stock DPOTrainer with an empty prompt, which computes JPO. Only importer of trl.

It gets our token ids instead of texts, so that both arms see the same tokens; the rest is TRL's own loop. It may
choose its batch size, has no gradient checkpointing to slow it down and is never asked to log.
"""

import importlib
import importlib.util
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback

from jpo_dist.config.run import JpoConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.files import model_folder
from jpo_dist.train.setup import Setup
from launcher.bench.clock import Spent, now, since, timed
from launcher.bench.ours import BETA, LR, pairs_of_ids
from launcher.bench.sizes import SkippedError

ZERO_3 = {
    "bf16": {"enabled": "auto"},
    "zero_optimization": {"stage": 3},
    "optimizer": {"type": "AdamW", "params": {"lr": LR, "weight_decay": 0.0, "torch_adam": True}},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
}
PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


@dataclass
class Race(TrainerCallback):
    """Lets the other arm take its step between two of TRL's optimizer steps. The first turn of each does not count."""

    other: Callable[[], object]
    theirs: list[Spent] = field(default_factory=list)
    others: list[Spent] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    """Mean margins before each of TRL's steps, as ours.Steps has them."""

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._start = now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.theirs.append(since(self._start))
        ranks.barrier()
        self.others.append(timed(self.other))
        ranks.barrier()
        self._start = now()

    @property
    def counted(self) -> tuple[list[Spent], list[Spent]]:
        """What TRL's steps and the other arm's took, without their first turns."""
        return self.theirs[1:], self.others[1:]


def require() -> None:
    """Raises SkippedError where TRL is not installed."""
    if importlib.util.find_spec("trl") is None:
        raise SkippedError("trl is not installed; it comes with the `dev` extra")


def race(
    setup: Setup,
    folder: Path,
    other: Callable[[], object],
    batch: int,
    steps: int,
    count: int | None = None,
) -> Race:
    """`steps` optimizer steps of TRL over the same comparisons, in turns with `other`. All ranks call it.

    Reference, ZeRO stage (0 or 3) and checkpointing are those of `setup`.

    A step takes the first `count` comparisons of `setup` (None: all), `batch` of each rank at a time, accumulated.
    Raises AssertionError if TRL drops any.
    """
    trl: Any = importlib.import_module("trl")
    datasets: Any = importlib.import_module("datasets")
    _quiet()
    pairs, callback = pairs_of_ids(setup)[:count], Race(other)
    micro_steps = len(pairs) // ranks.num_ranks() // batch
    assert micro_steps * ranks.num_ranks() * batch == len(pairs), f"{len(pairs)} comparisons by {batch}"
    with _seen_as(ranks.num_ranks()):
        trainer = _trainer_class(trl.DPOTrainer, callback, micro_steps)(
            model=model_folder(setup.config.model),
            args=_settings(
                trl.DPOConfig,
                setup,
                output_dir=str(folder / "trl"),
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=micro_steps,
                max_steps=steps,
            ),
            processing_class=setup.tokenizer,
            train_dataset=datasets.Dataset.from_list([{"prompt_ids": [], **pair} for pair in pairs * steps]),
            callbacks=[callback],
        )
        assert len(trainer.train_dataset) == steps * len(pairs), "TRL left comparisons out"
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return callback


def _settings(kind: Any, setup: Setup, **own: Any) -> Any:
    """TRL's arguments: what every race has in common, and the race's `own`."""
    config = setup.config
    assert isinstance(config, JpoConfig)
    narrow, sharded = torch_dtype(config.model.dtype) == torch.bfloat16, config.engine.zero_stage == 3
    return kind(
        **own,
        precompute_ref_log_probs=config.reference.mode == "cached",
        gradient_checkpointing=config.model.gradient_checkpointing,
        deepspeed=ZERO_3 if sharded else None,
        learning_rate=LR,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1e9,
        optim="adamw_torch_fused",  # under DeepSpeed its own section says which: ZERO_3
        beta=BETA,
        loss_type=["sigmoid"],
        max_length=None,
        train_sampling_strategy="sequential",
        # Weights are in bfloat16 already, and autocast would only add casts; DeepSpeed wants to be told.
        model_init_kwargs={"dtype": "bfloat16" if narrow else "float32"},
        bf16=narrow and sharded,
        use_cpu=setup.device.type == "cpu",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _trainer_class(stock: Any, race: Race, micro_steps: int) -> Any:
    """The stock trainer on our tokens; it notes its losses and margins in `race`."""

    class Listening(stock):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            found = super().compute_loss(*args, **kwargs)
            self._noted = [*getattr(self, "_noted", []), float(found.detach())]
            if len(self._noted) == micro_steps:
                race.losses.append(_mean(self._noted))
                sides = (self._metrics["train"][f"logps/{side}"][-micro_steps:] for side in ("chosen", "rejected"))
                chosen, rejected = sides
                race.margins.append(_mean(chosen) - _mean(rejected))
                self._noted = []
            return found

    return Listening


def _mean(values: list[float]) -> float:
    """The mean over micro-steps and ranks, all of one size."""
    everyone = [v for part in ranks.gather(list(values)) for v in part]
    return sum(everyone) / len(everyone)


@contextmanager
def _seen_as(num_ranks: int) -> Iterator[None]:
    """Inside, TRL sees a single process as such, not as a group of one: then it would wrap the model for data
    parallelism."""
    hidden = {name: os.environ.pop(name) for name in PLACE if num_ranks == 1 and name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def _quiet() -> None:
    os.environ["TQDM_DISABLE"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("trl", "accelerate", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
