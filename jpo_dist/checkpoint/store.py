"""The store: commits in an object store, or any file system that pyarrow or fsspec knows by a URL.

<checkpoint.storage>/step-00000040.000007/...       files of the commit of step 40 that attempt 7 made
<checkpoint.storage>/step-00000040.000007/manifest.json   written last: with it, and only then, the folder is a commit
<checkpoint.storage>/attempts/000007                as in the run folder: only the highest may write or delete
<checkpoint.storage>/run.json, metrics.jsonl        copies of those in the run folder, for a machine that has none

A store has no rename, so what makes a commit is its last object, and no folder is ever written to twice: the attempt is
part of its name. A commit leaves by its manifest first. Credentials come from the environment, as the store's own
tools read them; they are never part of the URL.
"""

import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from pyarrow import ArrowInvalid, fs

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.checkpoint.commit import CheckpointError, FencedError
from jpo_dist.checkpoint.manifest import MANIFEST, Manifest, ManifestError
from jpo_dist.distributed.fault_injection import fault_point
from jpo_dist.distributed.waiting import Work, working
from jpo_dist.files import replace
from jpo_dist.run_dir import ATTEMPTS, METRICS, RUN

logger = logging.getLogger(__name__)

RUN_FILES = (RUN, METRICS)
CHUNK_BYTES = 8 * 2**20
STREAMS = 4
"""Files that travel at once."""
_FOLDER = re.compile(r"step-(\d{8,})\.(\d{6,})")
_WITHOUT_FOLDERS = ("s3", "gcs", "abfs")


class StoreError(CheckpointError, ValueError):
    """checkpoint.storage cannot be used."""


class Store(NamedTuple):
    """checkpoint.storage, connected to."""

    files: fs.FileSystem
    root: str
    url: str

    def at(self, *names: str) -> str:
        return "/".join([self.root, *names])


class Stored(NamedTuple):
    """A commit in the store, by its name; sorts from old to new."""

    attempt: int
    step: int

    @property
    def name(self) -> str:
        return f"step-{self.step:08d}.{self.attempt:06d}"


def connect(url: str) -> Store:
    """The store at `url`. Raises StoreError when nothing answers there, or not to these credentials."""
    with _explained(url):
        files, root = _file_system(url)
        store = Store(files, root.rstrip("/"), url)
        files.get_file_info(fs.FileSelector(store.root, allow_not_found=True))
        return store


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise StoreError(
            f"checkpoint.storage ({url}) cannot be used: {type(error).__name__}: {error}; correct the address, give "
            "the hosts their credentials by environment variables, or use checkpoint.storage=null"
        ) from None


def _file_system(url: str) -> tuple[fs.FileSystem, str]:
    if url.startswith("file://"):  # pyarrow reads `%3F` as `?`, and what it cannot parse goes elsewhere, unread
        return fs.LocalFileSystem(), unquote(url.removeprefix("file://").removeprefix("localhost"))
    try:
        files, root = fs.FileSystem.from_uri(url)
    except ArrowInvalid:  # not one of pyarrow's own
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        known, root = url_to_fs(url)
        files = fs.PyFileSystem(fs.FSSpecHandler(known))
    return files, root


# -- attempts


def newest_attempt(store: Store) -> int:
    """The highest attempt that has started; 0 without one."""
    selector = fs.FileSelector(store.at(ATTEMPTS), allow_not_found=True)
    return max((int(i.base_name) for i in store.files.get_file_info(selector) if i.base_name.isdigit()), default=0)


def claim_attempt(store: Store, attempt: int) -> None:
    """Say that `attempt` has started.

    Of two starts without a run folder in common, made in the same second, both may think they are the newest: a store
    cannot create a name exclusively.
    """
    started = {"host": socket.gethostname(), "pid": os.getpid(), "ts_ms": time.time_ns() // 1_000_000}
    with _explained(store.url):
        _write(store, store.at(ATTEMPTS, f"{attempt:06d}"), json.dumps(started).encode())


def check_token(store: Store, attempt: int) -> None:
    """Raises FencedError when a newer attempt has started."""
    newest = newest_attempt(store)
    if newest > attempt:
        raise FencedError(f"attempt {attempt} may not write to {store.url}: attempt {newest} has started")


# -- what is there


def folders(store: Store) -> list[Stored]:
    """Every folder that is, was or will be a commit, newest first; the manifest tells which."""
    selector = fs.FileSelector(store.root, allow_not_found=True)
    named = (_FOLDER.fullmatch(info.base_name) for info in store.files.get_file_info(selector))
    return sorted((Stored(int(m[2]), int(m[1])) for m in named if m), reverse=True)


def is_complete(store: Store, stored: Stored) -> bool:
    """Whether the manifest is there, which is written last."""
    info = store.files.get_file_info(store.at(stored.name, MANIFEST))
    return bool(info.type == fs.FileType.File)


def commits(store: Store) -> list[Stored]:
    """Newest first. Newest is by attempt, then step, as in the run folder."""
    return [stored for stored in folders(store) if is_complete(store, stored)]


def read_manifest(store: Store, stored: Stored) -> Manifest:
    """The manifest of a stored commit. Raises ManifestError, OSError."""
    with store.files.open_input_stream(store.at(stored.name, MANIFEST)) as file:
        manifest = manifests.parse(file.read())
    if (manifest.attempt, manifest.step) != stored:
        raise ManifestError(f"{MANIFEST} is that of step {manifest.step}, attempt {manifest.attempt}")
    outside = [name for name in manifest.files if name.startswith("/") or ".." in name.split("/")]
    if outside:
        raise ManifestError(f"{MANIFEST} names a file outside its folder: {outside[0]}")
    return manifest


# -- there and back


def upload(store: Store, folder: Path, attempt: int, keep: int, spare: frozenset[str] = frozenset()) -> int:
    """Copy the commit in `folder` to the store, with the run's small files; then delete all but its newest `keep` ones
    and those that the run folder names as in `spare`.

    Returns its bytes. Raises FencedError, OSError, ManifestError; what was there before is as it was then.
    """
    manifest = manifests.read(folder)
    stored = Stored(manifest.attempt, manifest.step)
    check_token(store, attempt)
    _make_folders(store, stored.name, manifest.files)
    with working(f"uploading {folder.name}", manifest.bytes, "bytes") as work, ThreadPoolExecutor(STREAMS) as pool:
        put = partial(_put, store, folder, stored.name, manifest.step, work)
        list(pool.map(put, manifest.files))
    fault_point("upload:after-files", manifest.step)
    for name in RUN_FILES:
        path = folder.parent.parent / name
        if path.exists():
            data = path.read_bytes()
            _write(store, store.at(name), data[: data.rfind(b"\n") + 1] if name == METRICS else data)
    check_token(store, attempt)
    _write(store, store.at(stored.name, MANIFEST), (folder / MANIFEST).read_bytes())
    fault_point("upload:after-manifest", manifest.step)
    retain(store, stored, keep, spare)
    return manifest.bytes


def retain(store: Store, newest: Stored, keep: int, spare: frozenset[str] = frozenset()) -> None:
    """Delete all commits but the newest `keep` and those named in `spare` (step-00000040), and what uploads before
    `newest` left without a manifest."""
    older = [stored for stored in folders(store) if stored <= newest]
    complete = [stored for stored in older if is_complete(store, stored)]
    kept = {*complete[: max(keep, 1)], *(stored for stored in complete if stored.name.partition(".")[0] in spare)}
    for stored in set(older) - kept:
        if stored in complete:
            store.files.delete_file(store.at(stored.name, MANIFEST))
        store.files.delete_dir(store.at(stored.name))


def download(store: Store, stored: Stored, names: Iterable[str], folder: Path) -> None:
    """Fetch these files of a commit into `folder`. Raises OSError."""
    with working(f"fetching {stored.name}"), ThreadPoolExecutor(STREAMS) as pool:
        list(pool.map(lambda name: _get(store, store.at(stored.name, name), folder / name), names))


def restore_run_files(url: str, run_dir: Path) -> list[str]:
    """Fetch run.json and metrics.jsonl where `run_dir` has none: this machine goes on with the run of another one.

    For the driver, before it opens the MLflow run. Returns the names of the files it fetched. Raises StoreError.
    """
    missing = [name for name in RUN_FILES if not (run_dir / name).exists()]
    if not missing:
        return []
    store = connect(url)
    infos = store.files.get_file_info([store.at(name) for name in missing])
    found = [name for name, info in zip(missing, infos, strict=True) if info.type == fs.FileType.File]
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in found:
        with store.files.open_input_stream(store.at(name)) as stream:
            replace(run_dir / name, stream.read(), sync=False)
    return found


def _put(store: Store, folder: Path, commit: str, step: int, work: Work, name: str) -> None:
    with (folder / name).open("rb") as source, store.files.open_output_stream(store.at(commit, name)) as sink:
        while chunk := source.read(CHUNK_BYTES):
            sink.write(chunk)
            work.add(len(chunk))
            fault_point("upload:mid-file", step)


def _get(store: Store, source: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with store.files.open_input_stream(source) as stream, path.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK_BYTES)


def _write(store: Store, target: str, data: bytes) -> None:
    """Write a small object in one piece. A store shows it whole or not; elsewhere a reader checks what it reads."""
    if store.files.type_name not in _WITHOUT_FOLDERS:
        store.files.create_dir(target.rpartition("/")[0], recursive=True)
    with store.files.open_output_stream(target) as sink:
        sink.write(data)


def _make_folders(store: Store, name: str, files: dict[str, Any]) -> None:
    if store.files.type_name not in _WITHOUT_FOLDERS:
        for parent in {path.rpartition("/")[0] for path in files}:
            store.files.create_dir(store.at(name, parent).rstrip("/"), recursive=True)
