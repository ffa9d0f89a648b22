"""Memory that tensors leave is used again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.environment import ALLOCATOR
from jpo_dist.distributed.allocator import NO_TCACHE

CLEAN = {key: value for key, value in os.environ.items() if key not in ALLOCATOR}

# Tensors come and go while a small block of each round stays, as when libraries remember something of a layer.
GROWTH = """
import ctypes, random, torch
from jpo_dist.distributed.allocator import keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL("libc.so.6")
random.seed(0)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
def round():
    for size in (3_000_000, 2_000_000, 1_500_000, 700_000, 2_500_000):
        tensor = torch.zeros(size + 16 * random.randrange(4))
        libc.malloc(24 + 16 * random.randrange(7))
for _ in range(5):
    round()
before = resident()
for _ in range(100):
    round()
print(resident() - before)
"""


def run(script: str, env: dict[str, str]) -> str:
    return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("env", "most"), [(CLEAN | ALLOCATOR, 60e6), (CLEAN, 250e6)], ids=["set", "not set"])
def test_freed_tensors_are_used_again(env: dict[str, str], most: float) -> None:
    """Large ones kept without the setting, as far as glibc before 2.38 goes: 520 MB."""
    assert int(run(GROWTH, env)) < most


@pytest.mark.slow
def test_a_command_that_computes_begins_again_once_as_the_same_process() -> None:
    script = """
import os, sys
print(os.getpid(), os.environ.get("GLIBC_TUNABLES"), flush=True)
from launcher.allocator import begin_again
begin_again([COMMAND])
"""
    first, second = (line.split() for line in run(script.replace("COMMAND", "'train'"), CLEAN).splitlines())
    assert first == [second[0], "None"]
    assert second[1] == NO_TCACHE
    assert len(run(script.replace("COMMAND", "'check'"), CLEAN).splitlines()) == 1
    own = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=1"}
    assert len(run(script.replace("COMMAND", "'train'"), CLEAN | own).splitlines()) == 1


@pytest.mark.parametrize(
    "entry", [["-m", "launcher"], [str(Path(sys.executable).with_name("jpo"))]], ids=["module", "jpo"]
)
def test_the_real_command_begins_again_with_its_arguments(entry: list[str]) -> None:
    """Python's list of imports, an option that goes along, has the first module twice."""
    words = [sys.executable, "-X", "importtime", *entry, "train", "no.yaml", "optim.lr=1e-4"]
    done = subprocess.run(words, env=CLEAN, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "no.yaml: no such config" in done.stderr
    assert done.stderr.count(" launcher.allocator\n") == 2


def test_both_sides_mean_the_same_setting() -> None:
    assert ALLOCATOR == {"GLIBC_TUNABLES": NO_TCACHE}
