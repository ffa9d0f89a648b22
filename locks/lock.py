"""Writes the locks: every package of an image by version and hash. `make locks`.

    runtime.txt    what training needs; judge.txt: the extra `judge` too. Wheels only
    deepspeed.txt  comes as source: it is built against the torch that the image has
    cuda.txt       torch and its CUDA libraries. A CPU build of torch is another file on every index, so none is here
    build.txt      pip and what builds the above; mlflow.txt: the MLflow server
    alpaca.txt     AlpacaEval in an environment of its own, for docs/winrate.md

Hashes cover every file of a version, so the locks hold for other processors with the same requirements.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LOCKS = Path(__file__).parent
ROOT = LOCKS.parent
SEPARATE = {"cuda": re.compile(r"(torch|triton|nvidia-.+|cuda-.+)=="), "deepspeed": re.compile("deepspeed==")}


def main() -> None:
    for extra in ("", "judge"):
        name = extra or "runtime"
        parts: dict[str, list[str]] = {"cuda": [], "deepspeed": [], name: []}
        for block in blocks(compiled("pyproject.toml", *(["--extra", extra] if extra else []))):
            parts[next((part for part, names in SEPARATE.items() if names.match(block)), name)].append(block)
        for part, found in parts.items():
            write(part, found)
    for name in ("build", "mlflow", "alpaca"):
        write(name, blocks(compiled(f"locks/{name}.in")))


def compiled(*source: str) -> str:
    """The requirements of `source`, resolved within constraints.txt, each with the hashes of its files."""
    # Without the header and index lines: they would name whatever index this machine asks.
    quiet = ["--quiet", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
    target = ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28", "--generate-hashes"]
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "compile", "--no-config", "-c", "constraints.txt", *quiet, *target, *source]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def blocks(text: str) -> Iterator[str]:
    """One requirement with its hashes each."""
    return (block for block in re.split(r"\n(?=\S)", text.strip()) if not block.startswith("#"))


def write(name: str, found: Iterator[str] | list[str]) -> None:
    (LOCKS / f"{name}.txt").write_text("\n".join(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
