"""SftConfig: all sections of one supervised fine-tuning; and which configs a run may have."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config.base import ROW_MIB, Count, Fraction, NonNegative, Positive, Section
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.run import JpoConfig, require_evaluations
from jpo_dist.config.sections import (
    CheckpointConfig,
    ModelConfig,
    OptimConfig,
    RunSection,
    TokensConfig,
    TrackingConfig,
    TrainConfig,
)


class SftDataConfig(TokensConfig):
    """Responses to imitate, and how an item becomes tokens."""

    train: str | list[str] = Field(min_length=1)
    """Files, folders, globs, sets or hub ids as in `jpo train`; conversations and folders of `jpo generate` too."""
    validation: str | list[str] | None = None
    """Held-out responses. None: the validation split of the set in `train`, if that is one, or else
    `validation_fraction` of the training instructions."""
    validation_fraction: Fraction = 0.05
    """About which share of the instructions is held out of `train` when `validation` is None; the turns of a
    conversation stay together. 0: no validation."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be read: stop with file, line, field and reason, or count it and go on."""
    max_row_mib: Count = ROW_MIB
    """Most MiB of one row of JSON lines, one value of a JSON list, or one CSV cell. A longer one is a bad row: a packed
    file of some megabytes may hold a line of gigabytes."""
    responses: Literal["all", "best"] = "all"
    """Which rated responses are imitated: all, or the best of each instruction, the first of equal ones. Of pairs the
    winner, of rankings the first, of thumbs those that are up: always."""
    min_score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """Least score of what is imitated. With it, whatever has no score is left out and counted: winners of pairs without
    scores, firsts of rankings and thumbs that are up too. None: any."""
    turns: Literal["last", "all"] = "last"
    """Of a conversation: its last turn alone, or each turn of the assistant, after all that stands before it."""


class SftObjective(Section):
    """The loss: the mean negative log-likelihood of a token."""

    instruction_weight: NonNegative = 0.0
    """Lambda: 0 learns responses alone; 1 counts instruction tokens as much as those of the response."""


AnyObjective = ObjectiveConfig | SftObjective
"""What a run minimizes."""


class SftOptimConfig(OptimConfig):
    """AdamW and its schedule."""

    lr: Positive = 1e-5
    """Learning rate after the warm-up."""


class SftConfig(Section):
    """Everything one supervised fine-tuning needs to know. There is no reference."""

    model: ModelConfig
    data: SftDataConfig
    sft: SftObjective = SftObjective()
    optim: SftOptimConfig = SftOptimConfig()
    train: TrainConfig = TrainConfig()
    engine: EngineConfig = EngineConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    run: RunSection

    @model_validator(mode="after")
    def _a_best_commit_is_found(self) -> Self:
        require_evaluations(self.train, self.checkpoint)
        return self

    @property
    def objective(self) -> SftObjective:
        return self.sft


AnyConfig = JpoConfig | SftConfig
"""The config of a run, whatever it learns."""


def not_read(config: AnyConfig) -> list[str]:
    """Settings that are for another loss than this one, one line each: a config may share them between runs, and a
    person may have meant the other key."""
    train, usual = config.train, TrainConfig()
    of_items = isinstance(config, SftConfig) or config.objective.loss == "kto"
    by = "jpo sft" if isinstance(config, SftConfig) else f"objective.loss={config.objective.loss}"
    read, other = ("items_per_step", "comparisons_per_step") if of_items else ("comparisons_per_step", "items_per_step")
    found = []
    if getattr(train, other) != getattr(usual, other):
        found.append(
            f"train.{other} ({getattr(train, other)}) is not read with {by}: a step has train.{read} "
            f"({getattr(train, read)})"
        )
    if isinstance(config, JpoConfig) and not of_items and config.data.desirable_from is not None:
        found.append(f"data.desirable_from ({config.data.desirable_from}) is not read with {by}, only with kto")
    return found
