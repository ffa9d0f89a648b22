"""The environment of the workers and of Ray itself: what is set, what is passed on, what each host finds out alone."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch

from cluster.config import ClusterConfig

# A worker does not inherit the driver's shell. This list is closed because the runtime environment is readable by
# anyone who can reach the cluster's job API: no tokens, no keys. Interface names are missing on purpose: they
# differ between hosts, and each host finds its own.
FORWARDED = (
    "DS_ACCELERATOR", "HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE", "HF_HOME", "HF_HUB_CACHE",
    "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "JPO_CACHE", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_S3_ENDPOINT_URL",
    "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF",
    "TOKENIZERS_PARALLELISM", "TORCH_EXTENSIONS_DIR", "TRANSFORMERS_OFFLINE",
)  # fmt: skip
FORWARDED_PREFIXES = ("NCCL_",)

FOLDERS = (
    "HF_DATASETS_CACHE", "HF_HOME", "HF_HUB_CACHE", "JPO_CACHE", "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "TORCH_EXTENSIONS_DIR",
)  # fmt: skip
"""Those of FORWARDED that name places on a disk: workers share it with the driver, another machine may not."""

ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""The allocator's setting with which freed tensors make room for the next ones (jpo_dist/distributed/allocator.py).
glibc reads it as a process starts."""


ON_CPU = {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
"""For workers without GPUs. Ray hides none from them, and all would take the host's first one, DeepSpeed the CPU."""


BEGIN_WITH = "jpo_dist.home.at_home"
"""What each process of Ray calls first, by name: Ray puts the folder of the driver before all others in its search
path, and a file `cluster.py` there must not take our place."""


def of_job() -> dict[str, str]:
    """The runtime environment of a whole job."""
    return {"worker_process_setup_hook": BEGIN_WITH}


def worker_env(config: ClusterConfig, driver: Mapping[str, str]) -> dict[str, str]:
    """Variables of every worker: computed ones, then the driver's that are passed on, then cluster.env; the later one
    wins."""
    computed = {"OMP_NUM_THREADS": str(threads(config)), "TOKENIZERS_PARALLELISM": "false", **ALLOCATOR}
    if not config.gpus_per_worker:
        computed |= ON_CPU
    return {**computed, **passed_on(driver), **config.env}


def passed_on(driver: Mapping[str, str]) -> dict[str, str]:
    """Those of the driver's variables that its workers get."""
    return {
        key: value
        for key, value in driver.items()
        if (key in FORWARDED or key.startswith(FORWARDED_PREFIXES)) and not key.endswith("_SOCKET_IFNAME")
    }


def threads(config: ClusterConfig) -> int:
    """Threads of one worker's matrix products: a fixed number, since another one changes the last bits of sums."""
    return max(1, int(config.cpus_per_worker))


def ray_settings(config: ClusterConfig) -> dict[str, str]:
    """Settings that Ray reads from the driver's environment, at start and on every worker group.

    Ray's own limits are 600 s for a frozen worker and none for a rank that skips a report.
    """
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_V2_ENABLED": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # otherwise relative paths of the person mean another folder in the workers
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": f"{config.health_timeout_s:g}",
        # There was room a moment ago (`workers_now`): a host that is lost just now is not waited for.
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": f"{min(120.0, config.start_timeout_s):g}",
        "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": f"{config.collective_timeout_s:g}",
        # A report returns at the controller's next look, and so does the end of a run: 2 s each by default.
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": os.environ.get("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5"),
    }


@contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Inside, `settings` are in os.environ; afterwards it is as it was."""
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def interface_of(ip: str) -> str | None:
    """Name of this host's network interface that carries `ip`; None when there is none."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address.split("%")[0] == ip for address in addresses):
            return str(name)
    return None


def prepare_host(ip: str, num_threads: int) -> None:
    """Make this worker process ready for its process group; runs before the group is made.

    Without an interface name, gloo takes the one the host name resolves to: loopback on many hosts, and then no
    other host can connect. gloo wants the exact name, NCCL a prefix unless it starts with `=`.
    """
    interface = interface_of(ip)
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={interface}")
    # DeepSpeed builds its operators with ninja, which a virtual environment keeps beside its python.
    beside_python = str(Path(sys.executable).parent)
    if beside_python not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([beside_python, os.environ.get("PATH", os.defpath)])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or num_threads))


def private_token() -> None:
    """Make sure a Ray token exists and only its owner can read it. Ray itself would write it for all to read."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    aside = path.with_name(f"auth_token.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        aside.touch(mode=0o600)
        aside.write_text(os.urandom(32).hex(), encoding="ascii")
        with suppress(FileExistsError):
            os.link(aside, path)  # all of the token or nothing of it, also when two runs start at once
        aside.unlink()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except OSError:  # no home folder to write to: the processes started from here inherit it instead
        os.environ["RAY_AUTH_TOKEN"] = os.urandom(32).hex()
