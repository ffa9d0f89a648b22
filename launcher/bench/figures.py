"""Runs the groups of figures one after another, each in processes of its own, and collects what they found."""

import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from jpo_dist.home import home
from launcher.bench.groups import GROUPS
from launcher.bench.sizes import Figures, Sizes

LIMIT_S = 1800
"""Seconds after which a group is taken to hang."""


class BenchError(RuntimeError):
    """A group of figures ended without any."""


def run(names: Sequence[str], sizes: Sizes, tell: Callable[[str], None]) -> Figures:
    """Figures of the groups `names` (none: all) and of the machine. Raises ValueError for a name that is none."""
    unknown = sorted(set(names) - set(GROUPS))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such figures; there are {', '.join(GROUPS)}")
    found: Figures = {"date": datetime.date.today().isoformat(), "quick": int(sizes.quick)}
    for groups in _shared([name for name in GROUPS if not names or name in ("machine", *names)], sizes.quick):
        start = time.perf_counter()
        for name, figures in _in_processes(groups, sizes).items():
            found |= figures
            tell(f"{name}: {figures.get(f'{name}.skipped', f'{time.perf_counter() - start:.0f} s')}")
    return found


def _shared(names: list[str], quick: bool) -> list[list[str]]:
    """Lists of groups that run in the same processes. A group has its own, unless memory and time mean nothing
    (quick)."""
    if not quick:
        return [[name] for name in names]
    return [together for n in (1, 2) if (together := [name for name in names if GROUPS[name][0] == n])]


def lines(found: Figures) -> list[str]:
    """`name=value` for each figure."""
    return [f"{name}={value}" for name, value in found.items()]


def _in_processes(groups: list[str], sizes: Sizes) -> dict[str, Figures]:
    """The figures of `groups`, measured in one process or under torchrun; their output goes to our standard error.

    Raises BenchError where they leave none.
    """
    num_ranks = GROUPS[groups[0]][0]
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "sizes.json", Path(folder) / "figures.json"
        given.write_text(json.dumps(asdict(sizes)), encoding="utf-8")
        launch = (
            [] if num_ranks == 1 else ["torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}", "-m"]
        )
        command = [sys.executable, "-m", *launch, "launcher.bench.worker", str(given), str(made), *groups]
        # The workers' temporary folders hold models and caches: inside ours, they go with it.
        env = {**os.environ, **_environment(num_ranks), "TMPDIR": folder}
        ended = subprocess.run(command, env=env, stdout=sys.stderr.fileno(), timeout=LIMIT_S)
        if ended.returncode or not made.exists():
            raise BenchError(f"{', '.join(groups)}: ended with code {ended.returncode}; its last words are above")
        figures: dict[str, Figures] = json.loads(made.read_text(encoding="utf-8"))
        return figures


def _environment(num_ranks: int) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    path = os.pathsep.join([str(home()), *filter(None, [os.environ.get("PYTHONPATH")])])
    threads = {"OMP_NUM_THREADS": str(max(1, cores // num_ranks)), "TOKENIZERS_PARALLELISM": "false"}
    threads |= {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # launcher.bench.worker is ours in any folder
    return threads if num_ranks == 1 else {**threads, "GLOO_SOCKET_IFNAME": "lo"}
