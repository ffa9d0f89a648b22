"""The manifest of a commit: size and digest of its every file, and a SHA-256 over itself.

`manifest.json`: {"step", "attempt", "num_ranks", "seconds", "facts", "files": {path: {"bytes", "sha256", "xxh3"}},
"sha256"}, the last one over all the others as canonical JSON. A checkpoint is a pickle, so nothing of it may be loaded
before `problem_with` found nothing; that goes by the fast digest (see jpo_dist.digests). The manifest proves that files
are what was written, not who wrote them: for whoever keeps or signs manifests elsewhere there is SHA-256.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jpo_dist.digests import Damaged, is_as_written
from jpo_dist.files import in_words, replace, sync_folder

MANIFEST = "manifest.json"


class ManifestError(ValueError):
    """A manifest that is missing, damaged or does not belong here."""


@dataclass(frozen=True)
class Manifest:
    """`files`: path relative to the commit, with / -> {"bytes": int, "sha256": 64 hex digits, "xxh3": 32 hex
    digits; older versions wrote none}."""

    step: int
    attempt: int
    num_ranks: int
    seconds: float
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(file["bytes"] for file in self.files.values())

    @property
    def sizes(self) -> dict[str, int]:
        """Path -> bytes."""
        return {name: file["bytes"] for name, file in self.files.items()}

    @property
    def digest(self) -> str:
        """SHA-256 of everything that the manifest says."""
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def write(folder: Path, manifest: Manifest) -> None:
    """Make `folder` complete: the manifest and every name in the folder are on the disk when this returns.

    Raises TypeError or ValueError when the facts are not JSON (NaN is not), OSError.
    """
    text = json.dumps({**asdict(manifest), "sha256": manifest.digest}, indent=1, sort_keys=True, allow_nan=False)
    replace(folder / MANIFEST, text + "\n", sync=True)
    for sub, _, _ in os.walk(folder, topdown=False):
        sync_folder(Path(sub))


def read(folder: Path) -> Manifest:
    """The manifest of the commit in `folder`.

    Raises ManifestError with the reason; FileNotFoundError only when `folder` itself is gone.
    """
    try:
        return parse((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        if not folder.is_dir():
            raise
        raise ManifestError(f"{MANIFEST} is missing") from None
    except OSError as error:
        raise ManifestError(f"{MANIFEST} cannot be read: {in_words(error)}") from error


def parse(data: bytes) -> Manifest:
    """The manifest that `write` made these bytes of. Raises ManifestError."""
    try:
        value = json.loads(data)
        claimed = value.pop("sha256")
        manifest = Manifest(**value)
        actual = manifest.digest
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ManifestError(f"{MANIFEST} ({len(data)} bytes) is not a manifest: {error!r}") from error
    if claimed != actual:
        raise ManifestError(f"{MANIFEST} was changed after it was written: its SHA-256 is {actual}, it says {claimed}")
    return manifest


def list_files(folder: Path) -> dict[str, int]:
    """Path relative to `folder` -> bytes, of everything in it but the manifest. -1: not a regular file.

    Left out: `.nfs...`, which an NFS client makes for a file that was deleted while open and no loader reads.
    """
    found: dict[str, int] = {}
    for parent, folders, names in os.walk(folder, onerror=_raise):  # else an unreadable folder would count as empty
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in [*names, *links]:
            path = Path(parent) / name
            status = path.lstat()
            found[path.relative_to(folder).as_posix()] = status.st_size if stat.S_ISREG(status.st_mode) else -1
    return {
        name: size
        for name, size in found.items()
        if name != MANIFEST and not name.rpartition("/")[2].startswith(".nfs")
    }


def _raise(error: OSError) -> None:
    raise error


def files_by_rank(sizes: Mapping[str, int], num_ranks: int) -> list[list[str]]:
    """Files dealt out to ranks: a list for each rank, about equal in bytes, each file in one. Equal for equal input."""
    out: list[list[str]] = [[] for _ in range(num_ranks)]
    load = [0] * num_ranks
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        lightest = load.index(min(load))
        out[lightest].append(name)
        load[lightest] += max(sizes[name], 1)
    return out


def problem_with(folder: Path, manifest: Manifest, names: Iterable[str]) -> str | None:
    """Why `folder` is not what `manifest` says, or None. All names and sizes, digests of `names`."""
    there = list_files(folder)
    for name, file in manifest.files.items():
        if name not in there:
            return f"{name} is missing"
        if there[name] != file["bytes"]:
            return f"{name} has {there[name]} bytes, {file['bytes']} were written"
    extra = sorted(there.keys() - manifest.files.keys())
    if extra:
        return f"{extra[0]} is not in the manifest ({len(extra)} such files)"  # a loader that globs would read it
    for name in names:
        try:
            if not is_as_written(folder / name, manifest.files[name]):
                return f"{name} has another digest than when it was written"
        except Damaged as error:
            return f"{name} {error}"
    return None
