"""What a run reads is read once on each host: the first process compiles it to a folder, all others map that folder.

A folder is found by what it was made of: the bytes of the files, their names, the settings of the reading, and the code
that read them. It is written aside and renamed, so a kill leaves nothing that counts.
"""

import logging
import shutil
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

import jpo_dist.data
import jpo_dist.pairing
import jpo_dist.records
from jpo_dist.data.locate import source_files
from jpo_dist.digests import digests_of, problem_in_cache
from jpo_dist.distributed.waiting import acquire
from jpo_dist.files import read_json, sha256, sync_file, sync_folder, write_json
from jpo_dist.paths import NoCache, cache_folder
from jpo_dist.records.columns.pages import give_back, map_table, write_table
from jpo_dist.records.comparisons import ComparisonSet, digest
from jpo_dist.records.examples import Examples

logger = logging.getLogger(__name__)

_TABLES, _FACTS = ("items", "comparisons"), "facts.json"
_DAYS_KEPT = 30
"""A folder that nobody opened for so long goes when another one is made."""


class Report(Protocol):
    """What was read, for people."""

    def lines(self) -> list[str]: ...


class KeptReport:
    """The lines of a report that an earlier reading made."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def lines(self) -> list[str]:
        """What `lines` of the report itself has returned."""
        return list(self._lines)


Reads = Callable[[str | list[str]], tuple[ComparisonSet, Report]]


def read_once(where: str | list[str], reads: Reads, settings: list[Any]) -> tuple[ComparisonSet, Report]:
    """What `reads(where)` returns, its set memory-mapped, its report as lines; raises what it raises.

    `settings`: the name of the reading and everything that changes what it returns. Hub data sets, and everything where
    the cache cannot be written, are read by each process.
    """
    try:
        key = _key(where, settings)
        folder = None if key is None else cache_folder("sets") / key
        lock = None if folder is None else FileLock(f"{folder}.lock")
        if lock is not None:
            acquire(lock, "reads the same data")  # the ranks of one host: the first reads, the others wait and find it
    except (OSError, NoCache):
        return reads(where)
    if folder is None or lock is None:
        return reads(where)
    try:
        return _open(folder) or _compiled(folder, *reads(where))
    finally:
        lock.release()
        give_back()  # only here is nothing left of the reading itself


def _key(where: str | list[str], settings: list[Any]) -> str | None:
    """Equal for readings that return the same; None where the files are not known beforehand."""
    ignored: list[str] = []
    names = [where] if isinstance(where, str) else where
    files = [source_files(name, ignored) if name else None for name in names]
    if not files:
        return None
    contents = []
    for name, found in zip(names, files, strict=True):
        if found is None:
            return None
        contents.append([name, [[str(file), sha256(file)] for file in found]])
    return digest([_code(), settings, contents, ignored])


@cache
def _code() -> str:
    """A digest of the code that reads: another version of it may read the same bytes as something else."""
    rooms = (jpo_dist.data, jpo_dist.records, jpo_dist.pairing)
    folders = [Path(str(room.__file__)).parent for room in rooms]
    return digest([[file.name, sha256(file)] for folder in folders for file in sorted(folder.rglob("*.py"))])


def _open(folder: Path) -> tuple[ComparisonSet, Report] | None:
    """What a folder holds; None where it is not there or not whole."""
    facts = read_json(folder / _FACTS)
    files = [folder / f"{name}.arrow" for name in _TABLES]
    if set(facts.get("files", ())) != {file.name for file in files} or facts.get("whole") != _whole(facts):
        return None
    problem = problem_in_cache(folder, facts["files"])
    if problem:
        logger.warning("%s; it is a cache, and made again", problem)
        return None
    (folder / _FACTS).touch()
    kind = Examples if facts["counted"] == Examples.COUNTED else ComparisonSet
    built = kind(*map(map_table, files))
    built.__dict__["fingerprint"] = facts["fingerprint"]  # of a million comparisons it takes seconds
    return built, KeptReport(facts["lines"])


def _compiled(folder: Path, built: ComparisonSet, report: Report) -> tuple[ComparisonSet, Report]:
    """Write the folder, whose lock is held, and open it; a disk that is full leaves what was read as it is."""
    for left in folder.parent.glob(f".{folder.name}.*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        aside.mkdir()
        for name in _TABLES:
            write_table(getattr(built, name), aside / f"{name}.arrow")
            sync_file(aside / f"{name}.arrow")
        facts = {
            "counted": built.COUNTED,
            "fingerprint": built.fingerprint,
            "files": digests_of(aside, [f"{name}.arrow" for name in _TABLES])["files"],
            "lines": report.lines(),
        }
        facts["whole"] = _whole(facts)
        write_json(aside / _FACTS, facts)
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
        sync_folder(folder.parent)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        return built, report
    _forget(folder.parent)
    return _open(folder) or (built, report)


def _whole(facts: dict[str, Any]) -> str:
    """A digest of everything else that the facts say."""
    return digest({name: value for name, value in facts.items() if name != "whole"})


def _forget(folder: Path) -> None:
    """Remove what nobody has opened for a month. Whoever has it mapped keeps it."""
    for facts in folder.glob(f"*/{_FACTS}"):
        with suppress(OSError):
            if time.time() - facts.stat().st_mtime > _DAYS_KEPT * 86400:
                shutil.rmtree(facts.parent)
