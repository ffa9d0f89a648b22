"""The real command line for tests: `jpo` as a process, or forked from one that has its imports done; and what a run
left behind.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from cluster.environment import ALLOCATOR
from tests.support.procs import rank_environments
from tests.support.tiny import PLAIN, comparisons, save_tiny, write_jsonl

ROOT = Path(__file__).parents[2]
MEASURED = "perf/", "ckpt/", "system/"
"""Metrics that are times: never the same twice."""

_SERVER = """
import json, os, sys
import launcher.cli, launcher.stages.ranked, jpo_dist.train.loop, jpo_dist.evaluate.evaluation
for line in sys.stdin:
    order, pids = json.loads(line), []
    for own in order["ranks"]:
        pid = os.fork()
        if pid == 0:
            for number, name in ((0, os.devnull), (1, order["stdout"]), (2, order["stderr"])):
                os.dup2(os.open(name, os.O_RDWR | os.O_APPEND), number)
            os.setsid()
            os.environ.update(own)
            sys.argv = ["jpo", *order["arguments"]]
            code = 70
            try:
                launcher.cli.main()
            except SystemExit as end:
                code = end.code or 0
            except BaseException:
                import traceback
                traceback.print_exc()
                code = 1
            finally:
                sys.stdout.flush(), sys.stderr.flush()
                os._exit(code)
        pids.append(pid)
    print(*pids, flush=True)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(next((code for code in codes if code), 0), flush=True)
"""


class Done(NamedTuple):
    """A command that has ended. `code` is negative for a signal."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> str:
        """All output with its line breaks undone: messages are wrapped where they meet the edge."""
        return " ".join((self.out + " " + self.err).split())

    def check(self, code: int = 0) -> "Done":
        assert self.code == code, f"exit code {self.code}, not {code}\n{self.out[-3000:]}\n{self.err[-6000:]}"
        return self


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with one thread a process, for `python -m launcher` outside its own folder too."""
    own = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONUNBUFFERED": "1"}
    # As in an activated environment. A system ninja of another version would compile DeepSpeed's operator anew, and the
    # next Ray worker, which has this path, once more: both keep it in the same folder.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, **own, "PATH": path, **(env or {})}


def operator() -> dict[str, str]:
    """The variable with which a command finds DeepSpeed's compiled operator where HOME is another: it takes half a
    minute to compile."""
    for built in Path.home().glob(".cache/torch_extensions/**/deepspeed_shm_comm/*.so"):
        made_of = re.findall(r"(/\S+?)/(?:torch/include|deepspeed/ops)", built.with_name("build.ninja").read_text())
        if all(place.startswith(f"{sys.prefix}/") for place in made_of):  # none of another environment
            return {"TORCH_EXTENSIONS_DIR": str(built.parents[1])}
    return {}


def command(
    words: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout: float = 400
) -> Done:
    """Run to the end, or kill it with all its children. Raises subprocess.TimeoutExpired."""
    started = time.monotonic()
    # A session of its own: on timeout its whole process group, which nobody else is in, can be ended.
    process = subprocess.Popen(
        list(words), env=environment(env), cwd=cwd, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"no end within {timeout:g} s: {' '.join(words)}\n{out[-2000:]}\n{err[-4000:]}") from None
    return Done(process.returncode, out, err, time.monotonic() - started)


def jpo(*arguments: str, **options: Any) -> Done:
    """`python -m launcher ...`, a process of its own from the first import on."""
    return command([sys.executable, "-m", "launcher", *arguments], **options)


def torchrun(*arguments: str, ranks: int = 2, **options: Any) -> Done:
    """`torchrun --nproc-per-node 2 -m launcher ...` with a rendezvous on a free port."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return command([*start, "-m", "launcher", *arguments], **options)


class Warm:
    """`jpo` forked from a process that has imported everything but ray: seconds less for each command.

    The same entry, arguments and exit code as a fresh process; only the imports are shared.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER], cwd=ROOT,
            env=environment({"MLFLOW_DISABLE_TELEMETRY": "true", **ALLOCATOR}),  # a fork must not begin again
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        return self._forked([dict(env or {})], arguments)

    def killed(self, begun: Callable[[], bool], later_s: float, *arguments: str, group: bool = True) -> Done:
        """The same, killed (SIGKILL, with its children or without) so many seconds after it has `begun`, if it has not
        ended."""

        def kill(pid: int) -> None:
            with suppress(psutil.TimeoutExpired, psutil.NoSuchProcess):
                process = psutil.Process(pid)
                while not begun() and process.is_running():
                    time.sleep(0.001)
                process.wait(later_s)
            with suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(pid, signal.SIGKILL)

        return self._forked([{}], arguments, kill)

    def ranks(self, num_ranks: int, *arguments: str) -> Done:
        """As torchrun would, without its agent: nobody ends the others when one fails."""
        with rank_environments(num_ranks) as environments:
            return self._forked(environments, arguments)

    def _forked(
        self,
        environments: Sequence[Mapping[str, str]],
        arguments: Sequence[str],
        meanwhile: Callable[[int], None] = lambda pid: None,
    ) -> Done:
        """One process for each of `environments`, all with the same output; `meanwhile` gets the first one's number."""
        self._count += 1
        out_file, err_file = (self._folder / f"{self._count}.{name}" for name in ("stdout", "stderr"))
        for file in (out_file, err_file):
            file.touch()
        order = {"arguments": arguments, "ranks": environments, "stdout": str(out_file), "stderr": str(err_file)}
        started = time.monotonic()
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        pids = [int(pid) for pid in self._server.stdout.readline().split()]
        meanwhile(pids[0])
        try:
            code = int(self._server.stdout.readline())
        except BaseException:  # the test's time is over
            for pid in pids:
                os.killpg(pid, signal.SIGKILL)
            raise
        out, err = (file.read_text(encoding="utf-8") for file in (out_file, err_file))
        return Done(code, out, err, time.monotonic() - started)

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=300)


@contextmanager
def warm_commands(folder: Path) -> Iterator[Warm]:
    warm = Warm(folder)
    try:
        yield warm
    finally:
        warm.close()


# ---- what a run starts from


class Files(NamedTuple):
    """A tiny model, comparisons, and a config over them; `config` has no run.dir."""

    folder: Path
    config: str
    model: str
    train: str
    validation: str


def tiny_files(folder: Path) -> Files:
    """Six steps of 8 comparisons, two micro-steps each; commits every two steps, evaluations every three."""
    model = save_tiny(folder / "model")
    train = write_jsonl(folder / "train.jsonl", comparisons(40))
    validation = write_jsonl(folder / "validation.jsonl", comparisons(12))
    settings = {
        "model": {"path": model, "dtype": "float32"},
        "data": {"train": train, "validation": validation, "template": PLAIN},
        "optim": {"lr": 1e-3},
        "train": {"comparisons_per_step": 8, "tokens_per_micro_step": 256, "max_steps": 6, "eval_every": 3},
        # Thresholds so low that ZeRO-3 really partitions and gathers a tiny model.
        "engine": {"zero_stage": 3, "param_persistence_threshold": 0, "max_live_parameters": 5000,
                   "max_reuse_distance": 1, "prefetch_bucket_size": 1000},
        "checkpoint": {"every": 2},
        "run": {"dir": str(folder / "run"), "name": "tiny"},
    }  # fmt: skip
    config = folder / "tiny.yaml"
    config.write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    return Files(folder, str(config), model, train, validation)


# ---- what a run leaves


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl."""
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def numbers(run_dir: Path) -> list[tuple[int, dict[str, str]]]:
    """(step, every metric that is not a time as its JSON text) of each line: equal means byte for byte."""
    return [
        (line["step"], {name: json.dumps(v) for name, v in line["metrics"].items() if not name.startswith(MEASURED)})
        for line in lines_of(run_dir)
    ]


def losses(run_dir: Path) -> list[float]:
    return [line["metrics"]["loss"] for line in lines_of(run_dir) if line["step"] > 0]


def tracked(run_dir: Path, database: Path | None = None) -> tuple[str, str]:
    """(id, status) of the one run in the MLflow file beside `run_dir`, whose metrics all have one row a step.

    Of a step that was done again MLflow has the first version and metrics.jsonl the last: what is a time and not
    measured in every step may be in one only.
    """
    with sqlite3.connect(database or run_dir.parent / "mlflow.db") as connection:
        ((run_id, status),) = connection.execute("select run_uuid, status from runs").fetchall()
        rows = Counter(connection.execute("select key, step from metrics").fetchall())
    assert set(rows.values()) <= {1}, [row for row, count in rows.items() if count > 1]
    of_lines = {(name, line["step"]) for line in lines_of(run_dir) for name in line["metrics"]}
    other = {key for key, _ in of_lines ^ set(rows)}
    assert all(key.startswith(MEASURED) for key in other), f"MLflow and metrics.jsonl differ in {sorted(other)}"
    return run_id, status


def commits(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir())
