"""JpoConfig: all sections of one run, and the rules between them."""

from typing import Self

from pydantic import model_validator

from jpo_dist.config.base import Section, is_commit
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.objective import PER_TOKEN, ObjectiveConfig
from jpo_dist.config.sections import (
    CheckpointConfig,
    DataConfig,
    ModelConfig,
    OptimConfig,
    ReferenceConfig,
    RunSection,
    TrackingConfig,
    TrainConfig,
)


class JpoConfig(Section):
    """Everything the method needs to know for one run."""

    model: ModelConfig
    data: DataConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    reference: ReferenceConfig = ReferenceConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    engine: EngineConfig = EngineConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    tracking: TrackingConfig = TrackingConfig()
    run: RunSection

    @model_validator(mode="after")
    def _a_best_commit_is_found(self) -> Self:
        require_evaluations(self.train, self.checkpoint)
        return self

    @model_validator(mode="after")
    def _reference_fits_the_policy(self) -> Self:
        if self.reference.mode == "adapter_off" and not self.model.lora.rank:
            raise ValueError(
                "reference.mode (adapter_off) needs an adapter to switch off; set model.lora.rank, or use live"
            )
        if self.reference.mode == "adapter_off" and self.reference.path not in (None, self.model.path):
            raise ValueError(
                f"reference.path ({self.reference.path}) must be model.path with reference.mode=adapter_off; drop it"
            )
        return self

    @model_validator(mode="after")
    def _mismatched_pairs_cannot_be_cached(self) -> Self:
        if self.objective.loss == "kto" and self.reference.mode == "cached":
            raise ValueError(
                "reference.mode (cached) cannot serve objective.loss=kto: its reference scores pairs of instruction "
                "and response that each step makes anew; use live, or adapter_off with model.lora.rank"
            )
        return self

    @model_validator(mode="after")
    def _items_have_no_groups(self) -> Self:
        for key, choice in (("only", self.data.only), ("without", self.data.without)):
            if choice and self.objective.loss == "kto":
                raise ValueError(
                    f"data.{key} ({choice}) chooses comparisons, and objective.loss=kto learns from single items, in "
                    "which several groups are merged; build a set of the comparisons that you want, or drop it"
                )
        return self

    @model_validator(mode="after")
    def _a_loss_without_a_reference(self) -> Self:
        loss, mode, path = self.objective.loss, self.reference.mode, self.reference.path
        if loss == "simpo" and mode != "none":
            raise ValueError(
                f"objective.loss (simpo) has no reference, reference.mode is {mode}; set reference.mode=none, or use "
                "objective.loss=sigmoid_norm"
            )
        if mode == "none" and loss not in PER_TOKEN:
            raise ValueError(
                f"reference.mode (none) needs objective.loss={' or '.join(PER_TOKEN)}, not {loss}: sums without a "
                "reference are mostly lengths; use reference.mode=live"
            )
        if mode == "none" and path is not None:
            raise ValueError(f"reference.path ({path}) is not read with reference.mode=none; drop it")
        return self

    @model_validator(mode="after")
    def _refreshes_have_weights_to_mix(self) -> Self:
        every, rank = self.reference.refresh_every, self.model.lora.rank
        if every and rank:
            raise ValueError(
                f"reference.refresh_every ({every}) mixes whole weights, model.lora.rank ({rank}) trains none of "
                "them; use refresh_every=0, or rank 0"
            )
        if every and self.engine.offload_params.device == "nvme":
            raise ValueError(
                f"reference.refresh_every ({every}) needs weights in memory, engine.offload_params.device is nvme; use "
                "cpu, or refresh_every=0"
            )
        return self

    @model_validator(mode="after")
    def _pinned_code_of_the_reference(self) -> Self:
        of_its_own = self.reference.path not in (None, self.model.path)
        if self.reference.revision is not None and not of_its_own:
            raise ValueError(
                f"reference.revision ({self.reference.revision}) belongs to a reference.path other than model.path; "
                "set that, or use model.revision"
            )
        if of_its_own and self.model.trust_remote_code and not is_commit(self.reference.revision):
            raise ValueError(
                f"model.trust_remote_code (true) with reference.path ({self.reference.path}) needs reference.revision "
                f"(now {self.reference.revision!r}) to be a 40-hex commit; pin it"
            )
        return self


def require_evaluations(train: TrainConfig, checkpoint: CheckpointConfig) -> None:
    """Raises ValueError where the best commit is wanted, and nothing would tell which that is."""
    best, stop = checkpoint.best, train.stop_when
    if stop is not None and best is None:
        raise ValueError(
            f"train.stop_when (evaluations: {stop.evaluations}) waits for a new best value of checkpoint.best, which "
            "is not set; set it, for example to eval/loss"
        )
    if best is not None and not train.eval_every:
        raise ValueError(
            f"checkpoint.best ({best}) needs evaluations on the way, train.eval_every is 0; set it, or drop "
            "checkpoint.best"
        )
    if checkpoint.best_is != "auto" and best is None:
        raise ValueError(f"checkpoint.best_is ({checkpoint.best_is}) is about checkpoint.best; set that, or drop it")


def reference_model(config: JpoConfig) -> ModelConfig:
    """The model section of the reference."""
    return model_at(config.model, config.reference.path, config.reference.revision)


def model_at(model: ModelConfig, path: str | None, revision: str | None = None) -> ModelConfig:
    """`model` with another path, and neither GGUF nor revision of its own; None or its own path: as it is."""
    if path is None or path == model.path:
        return model
    return model.model_copy(update={"path": path, "gguf_file": None, "revision": revision})
