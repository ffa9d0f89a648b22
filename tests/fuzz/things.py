"""What is damaged: files of every format that is read, and folders of every kind that is written.

A thing is made once in a folder, and read; what reading gives is compared with what it gave when nothing was damaged.
"""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jpo_dist.data.read import read
from jpo_dist.digests import Damaged
from jpo_dist.endpoint.replies import Replies, Reply
from jpo_dist.generate import progress
from jpo_dist.generate.answers import Answer, read_answers, write_answers
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.folder import read_set, write_set

ROWS = [
    {"prompt": f"say {n}", "chosen": f"yes {n * n}", "rejected": f"no {n}", "weight": 1.0 + n / 8} for n in range(40)
]
SET = ComparisonSet.build(
    [Comparison(Item.of(f"Say {n}.", f"{n}!"), Item.of(f"Say {n}.", f"{n + 1}?"), weight=1 + n / 8) for n in range(60)]
)
ANSWERS = [Answer(n, f"{n:032x}", f"say {n}", f"said {n}", True, 3, 0.0, 0, 1, "m", "local") for n in range(30)]


class Thing(NamedTuple):
    make: Callable[[Path], None]
    """Puts it into an empty folder."""
    read: Callable[[Path], Any]
    """What is in it, as something that can be compared."""
    is_ours: bool
    """It has digests: what is read is what was written, or (of a cache, of kept answers) less of it."""
    may_lack: bool = False
    has_settings: bool = False
    """Values in its JSON files are replaced too, beside their bytes."""


def _rows(folder: Path) -> Any:
    (file,) = folder.iterdir()
    built, report = read(str(file), on_bad_row="skip")
    assert report.rows == report.comparisons + report.ties + sum(report.skipped.values()), report
    return [built.items["response"].to_pylist(), built.weights_C.tolist()]


def _jsonl(folder: Path, name: str = "a.jsonl") -> None:
    data = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith("gz") else data)


def _csv(folder: Path) -> None:
    lines = [",".join(ROWS[0]), *(",".join(f'"{value}"' for value in row.values()) for row in ROWS)]
    (folder / "a.csv").write_text("\n".join(lines) + "\n")


def _ipc(folder: Path, opens: Any) -> None:
    table = pa.Table.from_pylist(ROWS)
    with opens(str(folder / "a.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=16)


def _read_set(folder: Path) -> Any:
    found = read_set(folder)
    return [found.items.to_pylist(), found.comparisons.to_pylist()]


def _replies(folder: Path) -> None:
    kept = Replies(folder)
    for n in range(30):
        kept.add(Reply(f"k{n}", f"({n})", n, n, False, 0.5, "s"))
    kept.close()


def _progress(folder: Path) -> None:
    writer = progress.Writer(folder)
    for answer in ANSWERS:
        writer.add(progress.Made(answer, 0.5))
    writer.close()


def _tokens(folder: Path) -> Any:
    """The token cache, which has no set beside it here: what is read must be as many arrays as were written."""
    from jpo_dist.batches import prepare
    from jpo_dist.config.sections import DataConfig
    from tests.support.tiny import PLAIN, byte_tokenizer, comparisons

    prepare.KEPT_FROM = 1
    found = prepare.tokens_of(byte_tokenizer(), comparisons(12), DataConfig(train="unused", template=PLAIN))
    return [np.asarray(array).tolist() for array in (found.ids_T, found.offsets, found.instruction_lengths_N)]


def _compiled(folder: Path) -> Any:
    from functools import partial

    from jpo_dist.data.once import read_once

    source = folder.parent / "source.jsonl"
    if not source.exists():
        source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    found, report = read_once(str(source), partial(read, on_bad_row="error"), ["comparisons"])
    return [found.items.to_pylist(), found.comparisons.to_pylist(), found.fingerprint, report.lines()]


def _model(folder: Path) -> Any:
    """A model before it is loaded, as every run looks at it; its numbers are not looked at."""
    from jpo_dist.config.sections import ModelConfig
    from jpo_dist.model.load import load_tokenizer
    from jpo_dist.model.unloaded.limits import model_limits

    config = ModelConfig(path=str(folder))
    limits, tokenizer = model_limits(config, packed=True), load_tokenizer(config)
    return [list(map(str, limits)), tokenizer("a b").input_ids]


def _save_model(folder: Path) -> None:
    from tests.support.tiny import save_tiny

    save_tiny(folder)


THINGS: dict[str, Thing] = {
    "jsonl": Thing(_jsonl, _rows, False),
    "jsonl.gz": Thing(lambda folder: _jsonl(folder, "a.jsonl.gz"), _rows, False),
    "json": Thing(lambda folder: (folder / "a.json").write_text(json.dumps(ROWS)) and None, _rows, False),
    "csv": Thing(_csv, _rows, False),
    "parquet": Thing(lambda folder: pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet"), _rows, False),
    "arrow": Thing(lambda folder: _ipc(folder, pa.ipc.new_file), _rows, False),
    "arrow stream": Thing(lambda folder: _ipc(folder, pa.ipc.new_stream), _rows, False),
    "model": Thing(_save_model, _model, False, has_settings=True),
    "set": Thing(lambda folder: write_set(SET, folder), _read_set, True),
    "answers": Thing(
        lambda folder: write_answers(ANSWERS, folder), lambda f: [a._asdict() for a in read_answers(f)], True
    ),
    "replies": Thing(_replies, lambda f: [reply._asdict() for reply in Replies(f).all()], True, may_lack=True),
    "progress": Thing(
        _progress, lambda f: [made.answer._asdict() for made in progress.made_so_far(f).values()], True, may_lack=True
    ),
    "token cache": Thing(lambda folder: _tokens(folder) and None, _tokens, True),
    "set cache": Thing(lambda folder: _compiled(folder) and None, _compiled, True),
}
SENTENCES = (ValueError, FileNotFoundError)
assert issubclass(Damaged, SENTENCES)
