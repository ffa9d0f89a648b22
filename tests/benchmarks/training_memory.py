"""Peak memory of `jpo train` over many rows, at a model so small that rows are what counts.

    python tests/benchmarks/training_memory.py                            # 100, 30,000 and 1,000,000 pairs, no Ray
    python tests/benchmarks/training_memory.py --rows 200000 --workers 2  # two ranks under Ray

Each line is a whole `jpo train` of three steps, from a raw file to the export, in a process of its own. `peak_mib` is
the most that one process had resident (VmHWM; under Ray the greatest of all processes of the run), Python, torch,
DeepSpeed, model and optimizer among it. `over_few_mib` is what is left of it without the peak of 100 pairs: what the
rows cost. Pages of mapped files count as resident while somebody looks at them, although the system may take them
back; `of_it_anonymous_mib` is the peak of what it may not take back. The tokenizer makes one token of a byte, so that a
pair is about 1,100 tokens.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

FEW = 100


def settings(folder: Path, rows: int, workers: int) -> dict[str, Any]:
    """A config of three steps over the rows of `folder`."""
    return {
        "model": {"path": str(folder / "model"), "dtype": "float32"},
        "data": {"train": str(folder / f"{rows}.jsonl"), "max_length": 2048, "over_long": "truncate",
                 "template": "### {instruction}\n>", "validation_fraction": min(0.05, 200 / rows)},
        "reference": {"tokens_per_pass": 4096},
        "train": {"comparisons_per_step": 8, "tokens_per_micro_step": 4096, "max_steps": 3},
        "optim": {"lr": 1e-3},
        "checkpoint": {"every": 3},
        "tracking": {"uri": "none"},
        "cluster": {"workers": workers},
        "run": {"dir": str(folder / f"run-{rows}-{workers}"), "name": "memory"},
    }  # fmt: skip


def sizes(pid: int) -> dict[str, int]:
    """VmHWM and RssAnon of a process. MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: int(found[name].split()[0]) // 1024 for name in ("VmHWM", "RssAnon")}


def watched(words: list[str], env: dict[str, str], every_s: float) -> dict[str, Any]:
    """Run a command to its end. Returns the peaks of its processes; VmHWM only grows, so no peak is missed but those
    of the last `every_s`."""
    started = time.monotonic()
    peak, anonymous = 0, 0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        while process.poll() is None:
            pids = [process.pid]
            with suppress(psutil.Error):
                pids += [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
            for pid in pids:
                with suppress(OSError, KeyError):
                    found = sizes(pid)
                    peak, anonymous = max(peak, found["VmHWM"]), max(anonymous, found["RssAnon"])
            time.sleep(every_s)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode(errors="replace")[-4000:])
    return {"peak_mib": peak, "of_it_anonymous_mib": anonymous, "seconds": round(time.monotonic() - started)}


def measured(folder: Path, rows: int, workers: int) -> dict[str, Any]:
    """One run."""
    from tests.benchmarks.reading import write_rows

    if not (folder / f"{rows}.jsonl").exists():
        write_rows(folder / f"{rows}.jsonl", "pairs", rows)
    config = folder / f"{rows}-{workers}.yaml"
    config.write_text(json.dumps(settings(folder, rows, workers)))
    env = {**os.environ, "JPO_CACHE": str(folder / f"cache-{rows}-{workers}"), "OMP_NUM_THREADS": "1"}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return watched([sys.executable, "-m", "launcher", "train", str(config)], env, 0.05 if not workers else 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[30_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=0, help="0: in this process; else ranks under Ray")
    parser.add_argument("--folder", type=Path, help="where rows, runs and caches are kept; else a temporary folder")
    args = parser.parse_args()
    from tests.support.tiny import save_tiny

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        save_tiny(folder / "model")
        few = 0
        for rows in [FEW, *args.rows]:
            found = measured(folder, rows, args.workers)
            few = few or found["peak_mib"]
            print(f"{rows:>9,} pairs  {json.dumps({**found, 'over_few_mib': found['peak_mib'] - few})}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
