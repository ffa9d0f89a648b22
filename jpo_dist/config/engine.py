"""Settings of DeepSpeed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config.base import Count, Section


class OffloadConfig(Section):
    """Where ZeRO keeps a partition that is not in use."""

    EXPERT = ("nvme_path", "pin_memory")

    device: Literal["none", "cpu", "nvme"] = "none"
    """none: the accelerator. cpu: main memory. nvme: a disk."""
    nvme_path: str | None = None
    """Folder on that disk. Needed with device=nvme."""
    pin_memory: bool = False
    """Take main memory that is never swapped out: copies are faster, and other programs have less."""

    @model_validator(mode="after")
    def _nvme_needs_a_path(self) -> Self:
        if self.device == "nvme" and self.nvme_path is None:
            raise ValueError("nvme_path (None) is needed with device=nvme; name a folder on that disk")
        return self


class EngineConfig(Section):
    """DeepSpeed."""

    EXPERT = (
        "param_persistence_threshold", "max_live_parameters", "prefetch_bucket_size", "max_reuse_distance",
        "grad_accum_dtype",
    )  # fmt: skip

    zero_stage: Literal[0, 1, 2, 3] = 3
    """What the ranks share out among them. 0: nothing. 1: optimizer state. 2: gradients too. 3: weights too."""
    offload_optimizer: OffloadConfig = OffloadConfig()
    offload_params: OffloadConfig = OffloadConfig()
    """ZeRO-3 only."""
    param_persistence_threshold: Annotated[int, Field(ge=0)] = 100_000
    """ZeRO-3 keeps parameters of fewer elements than this on every rank."""
    max_live_parameters: Count = 1_000_000_000
    """ZeRO-3 looks no further ahead while a rank holds this many gathered elements."""
    prefetch_bucket_size: Annotated[int, Field(ge=0)] = 50_000_000
    """Elements that ZeRO-3 gathers ahead of the module that needs them."""
    max_reuse_distance: Annotated[int, Field(ge=0)] = 1_000_000_000
    """ZeRO-3 keeps a gathered parameter that is needed again within this many elements."""
    reduce_bucket_size: Count = 50_000_000
    """Elements of gradient that are reduced at a time: a buffer of this size on every rank."""
    sub_group_size: Count = 100_000_000
    """ZeRO-3 updates this many parameters at a time: a copy of their gradients in float32."""
    grad_accum_dtype: Literal["model", "float32"] = "model"
    """What the gradients of micro-steps add up in: model.dtype, which rounds each sum, or float32, which takes 2 bytes
    more of each parameter's share than bfloat16. ZeRO-2 and 3."""

    @model_validator(mode="after")
    def _offload_needs_partitions(self) -> Self:
        if self.offload_params.device != "none" and self.zero_stage != 3:
            raise ValueError(
                f"offload_params needs zero_stage=3 (now {self.zero_stage}); parameters are whole below it"
            )
        if self.offload_optimizer.device != "none" and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1, 2 or 3 (now 0)")
        return self

    @model_validator(mode="after")
    def _accumulation_works(self) -> Self:
        """Elsewhere DeepSpeed 0.19.8 refuses (ZeRO-0), takes an optimizer that rounds all the same (1), or never again
        finds a gradient finite after one that was not (2, offloaded)."""
        if self.grad_accum_dtype == "model" or self.zero_stage == 3:
            return self
        if self.zero_stage < 2:
            raise ValueError(
                f"grad_accum_dtype (float32) needs zero_stage 2 or 3 (now {self.zero_stage}); or use model"
            )
        if self.offload_optimizer.device != "none":
            raise ValueError(
                f"grad_accum_dtype (float32) does not go with zero_stage=2 and offload_optimizer "
                f"({self.offload_optimizer.device}); use zero_stage=3, or model"
            )
        return self
