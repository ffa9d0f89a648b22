"""Settings of the machines: how many ranked processes, where, and what they survive."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WorkerRange:
    """A number of workers that follows the room there is. With room for fewer than `min` a run waits, for
    start_timeout_s."""

    max: Annotated[int, Field(ge=1)]
    min: Annotated[int, Field(ge=1)] = 1

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is more than max ({self.max}); swap them")


def _which(value: object) -> str:
    return "function-range" if isinstance(value, dict | WorkerRange) else "function-count"


# With a tag, errors are about the form that was meant, and their keys leave out a tag of this kind.
Workers = Annotated[
    Annotated[int, Field(ge=0), Tag("function-count")] | Annotated[WorkerRange, Tag("function-range")],
    Discriminator(_which),
]


class ClusterConfig(BaseModel):
    """Ray workers. Ignored under torchrun, which has started the processes itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    EXPERT: ClassVar = ("max_failures", "start_timeout_s", "collective_timeout_s", "health_timeout_s")
    """Settings that hardly a run needs: docs/config.md keeps them apart."""

    workers: Workers = 1
    """Training processes, one rank each. 0: train in this very process, without Ray. {min: 2, max: 8}: as many as there
    is room for; a lost host leaves fewer, a new one is taken in at the next commit. The batches stay the same."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    """CPUs each worker reserves; it computes with as many threads, at least one."""
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs each worker reserves; a worker with a GPU trains on it."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """STRICT_SPREAD: one worker a host. PACK: as few hosts as possible."""
    address: str | None = None
    """Ray cluster to join: `auto` or HOST:PORT. None: the cluster of this job if there is one, else a local one."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Times the group of workers may be lost and started again. One that ends to take in more workers is not lost."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long to wait for the resources asked for before giving up."""
    collective_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """A collective that lasts longer means a stuck rank: the group is stopped and started again."""
    health_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """A worker that has not answered Ray for this long is lost."""
    env: dict[str, str] = {}
    """More environment variables for the workers: HF_HOME, NCCL_DEBUG, GLOO_SOCKET_IFNAME (where a host has several
    networks). No secrets: Ray's job API returns them in clear."""
    secrets: dict[str, str] = Field(default={}, json_schema_extra={"references": True})
    """Secret variables by where every host has them itself: `env` (in the environment of its `ray start`) or the path
    of a file with the value. For example HF_TOKEN: env, MLFLOW_TRACKING_PASSWORD: /run/secrets/mlflow."""

    @field_validator(
        "workers", "cpus_per_worker", "gpus_per_worker", "max_failures", "start_timeout_s", "collective_timeout_s",
        "health_timeout_s", mode="before",
    )  # fmt: skip
    @classmethod
    def _is_no_switch(cls, value: object) -> object:
        """`gpus_per_worker: true` would be one."""
        if isinstance(value, bool):
            raise ValueError(f" ({str(value).lower()}) is no number; write one")
        return value

    @field_validator("secrets")
    @classmethod
    def _by_reference(cls, value: dict[str, str]) -> dict[str, str]:
        for name, where in value.items():
            if not (where == "env" or where.startswith(("/", "~/"))):  # not repeated: it may be the secret itself
                raise ValueError(
                    f"{name} must be `env` or the absolute path of a file on every host, never the secret; "
                    f"put that in the file, or in the environment of `ray start`, and say where it is"
                )
        return value

    @property
    def most(self) -> int:
        """The most workers that a start may have."""
        return self.workers if isinstance(self.workers, int) else self.workers.max

    @property
    def least(self) -> int:
        """The fewest workers that a start needs."""
        return self.workers if isinstance(self.workers, int) else self.workers.min

    @property
    def is_elastic(self) -> bool:
        return self.least < self.most

    def of(self, workers: int) -> "ClusterConfig":
        """These settings with so many workers, neither more nor fewer."""
        return self.model_copy(update={"workers": workers})
