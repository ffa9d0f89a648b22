"""Time and peak memory of reading many rows: `jpo data inspect`, `jpo data build`, and what a training run loads.

    python tests/benchmarks/reading.py                                   # 200,000 pairs, everything; prints a table
    python tests/benchmarks/reading.py --rows 1000000 --what build       # a million pairs
    python tests/benchmarks/reading.py --rows 100000 --kind ratings      # four rated responses to each instruction
    python tests/benchmarks/reading.py --rows 10000000 --what build --words 10 14     # ten million short ones, 5 GB
    python tests/benchmarks/reading.py --rows 1000000 --kind ratings --what build --policy balanced

Each measurement is a process of its own, which starts with the file on disk; `load again` finds what `load` has left.
`cpu_s` counts all its threads; on a machine that others use too, go by it. `peak_mib` is the most that was resident,
Python and its packages (`base_mib`) among it. The rows are made-up words from a Zipf law, without `--words` 40 in an
instruction and 60 in a response.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

WHAT = ("inspect", "build", "load", "load again")
WORDS, AT_ONCE = 20_000, 10_000
WORDS_OF = 40, 60
"""How many words an instruction and a response have."""


def rows(kind: str, count: int, instruction: int, response: int) -> Iterator[dict[str, Any]]:
    """Rows of pairs (`prompt`, `chosen`, `rejected`) or of rated responses, four to an instruction.

    instruction, response: how many words each has.
    """
    random = np.random.default_rng(0)
    letters = random.integers(97, 123, (WORDS, 9)).astype(np.uint8)
    words = [bytes(row[: 2 + n % 8]).decode() for n, row in enumerate(letters)]

    def texts(number: int, length: int) -> list[str]:
        ranks = np.minimum(random.zipf(1.3, (number, length)) - 1, WORDS - 1)
        return [" ".join([words[rank] for rank in row]) for row in ranks.tolist()]

    for start in range(0, count, AT_ONCE):
        here = min(AT_ONCE, count - start)
        if kind == "pairs":
            sides = texts(here, response), texts(here, response)
            for n, (prompt, chosen, rejected) in enumerate(zip(texts(here, instruction), *sides, strict=True), start):
                yield {"prompt": f"{n} {prompt}", "chosen": chosen, "rejected": rejected}
        else:
            prompts, scores = texts(-(-here // 4), instruction), random.integers(1, 6, here).tolist()
            for n, (text, score) in enumerate(zip(texts(here, response), scores, strict=True)):
                yield {"prompt": f"{start + n // 4} {prompts[n // 4]}", "completion": text, "score": score}


def write_rows(file: Path, kind: str, count: int, words: tuple[int, int] = WORDS_OF) -> None:
    """The rows as JSON lines."""
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows(kind, count, *words))


def do(what: str, file: str, folder: str, policy: str | None) -> None:
    """One of the things that are measured. policy: how `build` pairs items across instructions."""
    if what == "inspect":
        from launcher.stages.inspect import look

        look(file, None, "error", 0, 3)
    elif what == "build":
        from jpo_dist.data.build import build, write
        from jpo_dist.data.config import BuildConfig

        pairs = {} if policy is None else {"pairs": [{"policy": policy}]}
        write(build(BuildConfig.model_validate({"sources": [{"path": file}], "output": folder, **pairs})), Path(folder))
    else:
        from jpo_dist.batches.load import reader_of
        from jpo_dist.config.run import JpoConfig

        config = JpoConfig.model_validate({"model": {"path": "none"}, "data": {"train": file}, "run": {"dir": folder}})
        built, _ = reader_of(config)(file)
        assert built.fingerprint


def measured(what: str, file: str, folder: str, count: int, policy: str | None) -> dict[str, Any]:
    """What this process used for it."""
    import jpo_dist.data.build  # noqa: F401

    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    do(what, file, folder, policy)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "rows_per_cpu_s": round(count / cpu_s),
        "rows_per_s": round(count / seconds),
        "cpu_s": round(cpu_s, 1),
        "peak_mib": peak // 1024,
        "base_mib": base // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--kind", choices=("pairs", "ratings"), default="pairs")
    parser.add_argument("--what", choices=WHAT)
    parser.add_argument("--words", type=int, nargs=2, default=WORDS_OF, help="of an instruction, of a response")
    parser.add_argument("--policy", help="how build pairs items; without it, as it does by default")
    parser.add_argument("--folder", type=Path, help="where rows, sets and cache are kept; else a temporary folder")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        file, folder = str(args.folder / "rows.jsonl"), str(args.folder / "set")
        print(json.dumps(measured(args.what, file, folder, args.rows, args.policy)))  # noqa: T201
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not (folder / "rows.jsonl").exists():
            write_rows(folder / "rows.jsonl", args.kind, args.rows, tuple(args.words))
        for what in [args.what] if args.what else WHAT:
            command = [sys.executable, __file__, "--here", "--what", what, "--rows", str(args.rows)]
            command += ["--policy", args.policy] if args.policy else []
            env = {**os.environ, "JPO_CACHE": str(folder / "cache")}
            done = subprocess.run([*command, "--folder", str(folder)], env=env, stdout=subprocess.PIPE, check=True)
            print(f"{what:12}{done.stdout.decode().strip()}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
