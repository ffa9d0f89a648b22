"""Settings of the machines: how many ranked processes, where, and what they survive."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ClusterConfig(BaseModel):
    """Ray workers. Ignored under torchrun, which has started the processes itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    workers: Annotated[int, Field(ge=0)] = 1
    """Training processes, one rank each. 0: train in this very process, without Ray."""
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1.0
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    """GPUs each worker reserves; a worker with a GPU trains on it."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """STRICT_SPREAD: one worker a host. PACK: as few hosts as possible."""
    address: str | None = None
    """Ray cluster to join: `auto` or HOST:PORT. None: the cluster of this job if there is one, else a local one."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """Times the group of workers may be lost and started again."""
    start_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long to wait for the resources asked for before giving up."""
    collective_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """A collective that lasts longer means a stuck rank: the group is stopped and started again."""
    health_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """A worker that has not answered Ray for this long is lost."""
    env: dict[str, str] = {}
    """More environment variables for the workers: HF_HOME, NCCL_DEBUG, GLOO_SOCKET_IFNAME (where a host has several
    networks). No secrets: Ray's job API returns them in clear."""
    secrets: dict[str, str] = {}
    """Secret variables by where every host has them itself: `env` (in the environment of its `ray start`) or the path
    of a file with the value. For example HF_TOKEN: env, MLFLOW_TRACKING_PASSWORD: /run/secrets/mlflow."""

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
