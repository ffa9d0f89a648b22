"""`jpo doctor`: what this machine has for a run, what is missing, and how to fix it."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from jpo_dist.config.environment import EXPERIMENT, NOT_READ, URI, tracking_of
from jpo_dist.config.explain import ConfigError

Verdict = Literal["ok", "note", "missing"]
PACKAGES = ("torch", "deepspeed", "transformers", "datasets", "peft", "pyarrow", "pydantic", "ray", "mlflow")
OPTIONAL = {"ray": "needed for cluster.workers >= 1; torchrun works without it", "mlflow": "set tracking.uri=none"}


class Finding(NamedTuple):
    """One row of the doctor's table."""

    subject: str
    verdict: Verdict
    fact: str
    fix: str = ""


def examine(*, build: bool) -> list[Finding]:
    """Everything that was found; a run cannot work here where something is missing. `build` compiles DeepSpeed's CPU
    operator first."""
    parts = (machine, packages, devices, lambda: operators(build), ray_cluster, tracking, room)
    return [found for part in parts for found in _safely(part)]


def show(findings: Iterable[Finding], out: Console) -> None:
    """Print them as a table."""
    table = Table(title="jpo doctor", show_lines=False)
    for name in ("subject", "", "found", "fix"):
        table.add_column(name, overflow="fold")
    colors = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}
    for found in findings:
        table.add_row(found.subject, colors[found.verdict], found.fact, found.fix)
    out.print(table)


def _safely(part: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """A broken part is a finding of its own: the doctor must not die of what it looks for."""
    try:
        return list(part())
    except Exception as error:
        name = getattr(part, "__name__", "operators")
        return [Finding(name, "missing", f"{type(error).__name__}: {error}", "repair the installation: make setup")]


def machine() -> Iterator[Finding]:
    """Python, cores, compiler."""
    version = platform.python_version_tuple()
    good = (int(version[0]), int(version[1])) >= (3, 11)
    yield Finding("python", "ok" if good else "missing", platform.python_version(), "" if good else "3.11 or later")
    yield Finding("cores", "ok", f"{os.cpu_count()}")
    compiler = next((c for c in (os.environ.get("CXX"), "g++", "clang++", "c++") if c and shutil.which(c)), None)
    if compiler:
        yield Finding("C++ compiler", "ok", str(shutil.which(compiler)))
        return
    from jpo_dist.model.engine import communication_is_built

    if communication_is_built():
        yield Finding("C++ compiler", "note", "none", "nothing is left to compile, but for offload to NVMe")
    else:
        yield Finding("C++ compiler", "missing", "none", "install g++: DeepSpeed compiles its CPU operator")


def packages() -> Iterator[Finding]:
    """Versions of the packages that a run needs."""
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            optional = OPTIONAL.get(name)
            yield Finding(name, "note" if optional else "missing", "not installed", optional or "make setup")


def devices() -> Iterator[Finding]:
    """GPUs, and the dtype that they make of model.dtype=auto."""
    import torch

    from jpo_dist.model.device import torch_dtype

    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(i)
            yield Finding(f"GPU {i}", "ok", f"{facts.name}, {facts.total_memory / 2**30:.0f} GiB")
    else:
        yield Finding("GPU", "note", "none: training runs on the CPU", "fine for the demo and tests")
    dtype = str(torch_dtype("auto")).removeprefix("torch.")
    slow = dtype == "float32"
    yield Finding(
        "model.dtype=auto", "note" if slow else "ok", dtype, "no bfloat16 here: about 5x slower" if slow else ""
    )


def operators(build: bool) -> Iterator[Finding]:
    """Whether the operator that DeepSpeed compiles is built; `build` compiles it first."""
    from jpo_dist.model.engine import build_ops, communication_is_built

    if build and not communication_is_built():
        build_ops()
    if communication_is_built():
        yield Finding("DeepSpeed CPU operator", "ok", "built")
    else:
        yield Finding("DeepSpeed CPU operator", "note", "built at first use, ~30 s", "jpo doctor --build")


def ray_cluster() -> Iterator[Finding]:
    """The Ray cluster that a run would join."""
    if importlib.util.find_spec("ray") is None:
        return
    from cluster.connection import describe

    facts = describe()
    if facts["address"] is None:
        yield Finding("ray cluster", "note", "none named: a run starts a local one", "RAY_ADDRESS or cluster.address")
    elif facts["reachable"]:
        yield Finding("ray cluster", "ok", f"{facts['address']}, {len(facts['nodes'])} nodes")
    else:
        yield Finding(
            "ray cluster", "missing", f"{facts['address']}: {facts['error']}", "start it, or unset RAY_ADDRESS"
        )


def tracking() -> Iterator[Finding]:
    """MLflow's variables: those that are used where a config says nothing, and those that no run reads."""
    try:
        found = tracking_of(os.environ)
    except ConfigError as error:
        yield Finding("mlflow", "missing", str(error), "correct or unset it")
        return
    for name, key in ((URI, "uri"), (EXPERIMENT, "experiment")):
        if key in found:
            yield Finding("mlflow", "ok", f"{name}={found[key]} is used where tracking.{key} is not set")
    for name in sorted(NOT_READ.keys() & os.environ.keys()):
        yield Finding("mlflow", "note", f"{name} is not read", NOT_READ[name])


def room() -> Iterator[Finding]:
    """Free space for models and for shared memory."""
    from jpo_dist.paths import cache_folder

    folder = cache_folder("models")
    free = shutil.disk_usage(folder).free / 2**30
    yield Finding("cache", "ok" if free > 2 else "note", f"{folder}, {free:.0f} GiB free", "JPO_CACHE moves it")
    shared = shutil.disk_usage("/dev/shm").total / 2**30 if os.path.isdir("/dev/shm") else 0.0
    if shared < 1:
        yield Finding(
            "/dev/shm", "note", f"{shared:.1f} GiB", "containers: give it 2 GiB or more, Ray keeps objects there"
        )
