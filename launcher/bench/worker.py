"""Groups of figures in this process, or rank: `python -m launcher.bench.worker SIZES.json OUT.json GROUP …`."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

from launcher.bench.groups import measure
from launcher.bench.sizes import Figures, Sizes, SkippedError


def main(sizes_file: str, out_file: str, *groups: str) -> None:
    """Measure the groups and write {group: figures}. A group that has to be skipped has the reason as its only
    figure."""
    logging.basicConfig(level=logging.WARNING)
    first = os.environ.get("RANK", "0") == "0"  # asked before a group takes the variable away from TRL
    sizes = Sizes(**json.loads(Path(sizes_file).read_text(encoding="utf-8")))
    found: dict[str, Figures] = {}
    for group in groups:
        try:
            found[group] = measure(group, sizes)
        except SkippedError as reason:
            found[group] = {f"{group}.skipped": str(reason)}
    if first:
        Path(out_file).write_text(json.dumps(found), encoding="utf-8")
    leave()


def leave() -> NoReturn:
    """End this process now, with everything written. At the interpreter's end a thread of gloo can abort the process
    ("terminate called without an active exception" was seen), and torchrun would call the figures failed."""
    from jpo_dist.model.engine import disconnect

    disconnect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
