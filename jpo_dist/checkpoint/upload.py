"""Uploads: commits travel to checkpoint.storage beside training, and from there to a run folder that lacks them.

A run folder lacks them on a new machine: `find_commit` looks here, fetches what is newer there, and looks again.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.checkpoint import run_folder
from jpo_dist.checkpoint import store as remote
from jpo_dist.checkpoint.commit import CheckpointError, Commit, DiskFullError, open_attempt
from jpo_dist.checkpoint.manifest import ManifestError
from jpo_dist.checkpoint.search import Found, find_valid, list_names, resume_point
from jpo_dist.checkpoint.store import Store, Stored
from jpo_dist.config.sft import AnyConfig
from jpo_dist.distributed import ranks
from jpo_dist.files import in_words

logger = logging.getLogger(__name__)

OnUploaded = Callable[[int, int, float], None]
"""Called with step, bytes and seconds of an upload, in the thread that uploads."""


class Uploader:
    """Uploads commits one at a time, in a thread of rank 0. Training never waits for it.

    While one commit travels, only the newest of those made since waits for its turn. A failed upload is tried again
    with the next commit and at the end; `close` raises when the last one is not there.
    """

    def __init__(self, store: Store, attempt: int, keep: int, on_uploaded: OnUploaded) -> None:
        self._store, self._attempt, self._keep, self._on_uploaded = store, attempt, keep, on_uploaded
        self._now: Path | None = None
        self._waiting: list[Path] = []
        self._spare: frozenset[str] = frozenset()
        self._failed: tuple[Path, Exception] | None = None
        self._changed = threading.Condition()
        # A daemon: a rank that fails must end. The next start uploads what this one could not.
        threading.Thread(target=self._work, name="uploads", daemon=True).start()

    def submit(self, commit: Path, spare: frozenset[str] = frozenset()) -> None:
        """Upload `commit` when the one on its way has arrived. `spare`: names of the commits that are to be, and to
        stay, in the store whatever their age."""
        with self._changed:
            for older in self._waiting:
                if older.name not in spare:
                    logger.info("%s is not uploaded: %s is newer, and another still travels", older.name, commit.name)
            if self._now is not None and not self._waiting:
                logger.info("%s waits until %s is uploaded", commit.name, self._now.name)
            self._waiting = [older for older in self._waiting if older.name in spare and older != commit] + [commit]
            self._spare = spare
            self._changed.notify_all()

    @property
    def needs(self) -> frozenset[str]:
        """Names of the commits that must not be deleted yet."""
        with self._changed:
            return frozenset(path.name for path in (self._now, *self._waiting) if path is not None)

    def close(self) -> None:
        """Return when the newest commit is in the store. Raises CheckpointError when it cannot get there."""
        self.wait()
        if self._failed is not None:
            self.submit(self._failed[0], self._spare)
            self.wait()
        if self._failed is not None:
            path, error = self._failed
            raise CheckpointError(
                f"{path.name} could not be uploaded to checkpoint.storage ({self._store.url}): {type(error).__name__}: "
                f"{error}. It is in {path.parent}; the same command uploads it when the store is back"
            ) from error

    def wait(self) -> None:
        """Return when no commit travels or waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._now is None and not self._waiting)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                path = self._now = self._waiting.pop(0)
                spare = self._spare
            self._failed = self._upload(path, spare)
            with self._changed:
                self._now = None
                self._changed.notify_all()

    def _upload(self, path: Path, spare: frozenset[str]) -> tuple[Path, Exception] | None:
        started = time.monotonic()
        try:
            num_bytes = remote.upload(self._store, path, self._attempt, self._keep, spare)
        except Exception as error:  # of a store, of pyarrow, of a run folder that is gone: training goes on
            logger.warning("%s could not be uploaded to %s: %s", path.name, self._store.url, error)
            return path, error
        seconds = time.monotonic() - started
        logger.info("uploaded %s to %s: %.0f MB in %.1f s", path.name, self._store.url, num_bytes / 1e6, seconds)
        self._on_uploaded(int(path.name.partition("-")[2]), num_bytes, seconds)
        return None


# -- at the start; all ranks call these


def open_run(config: AnyConfig) -> tuple[int, Store | None]:
    """This start's attempt, higher than any before here and in the store; and the store, None where none is set.

    Raises StoreError, CheckpointError (see `open_attempt`).
    """
    run_dir, store, newest = Path(config.run.dir), store_of(config), 0
    with ranks.together("opening checkpoint.storage"):
        if store and ranks.rank() == 0:
            newest = remote.newest_attempt(store)
    attempt = open_attempt(run_dir, above=newest)
    with ranks.together("opening the attempt in checkpoint.storage"):
        if store and ranks.rank() == 0:
            remote.claim_attempt(store, attempt)
    return attempt, store


def store_of(config: AnyConfig) -> Store | None:
    """The store of checkpoint.storage, None where none is set. Raises StoreError."""
    with ranks.together("connecting to checkpoint.storage"):
        return remote.connect(config.checkpoint.storage) if config.checkpoint.storage else None


def find_commit(config: AnyConfig, store: Store | None) -> Commit | None:
    """Where to go on, here or in the store, as checkpoint.resume says; None for a start from nothing.

    Raises ResumeRefused (see `resume_point`), DiskFullError when the disk has no room for the commit that the store
    has, and OSError when the store does not answer.
    """
    run_dir, policy = Path(config.run.dir), config.checkpoint.resume
    if policy == "never":  # nothing is verified: that would set aside commits of a run that is not ours
        found = list_names(run_dir)
        if store:
            found = found._replace(url=store.url, stored=[stored.name for stored in _in_store(store)])
    else:
        found = find_valid(run_dir)
        if store:
            found = _fetch_newer(store, found)
    return resume_point(policy, found)


def start_uploads(
    config: AnyConfig, store: Store, attempt: int, resumed: Commit | None, on_uploaded: OnUploaded
) -> Uploader:
    """Rank 0's uploader. It begins with the commit that the run goes on from, where that is not in the store."""
    made = Uploader(store, attempt, config.checkpoint.keep, on_uploaded)
    if resumed and Stored(resumed.attempt, resumed.step) not in remote.commits(store):
        made.submit(resumed.path)
    return made


def fetch_step(config: AnyConfig, step: int) -> None:
    """Put the commit of `step` into the run folder, where the store has one; it is not verified yet.

    Raises OSError, ManifestError, StoreError, and DiskFullError where there is no room for it."""
    store = store_of(config)
    found = [stored for stored in _in_store(store) if stored.step == step] if store else []
    if store and found:
        _fetch(store, found[0], Path(config.run.dir))


def _in_store(store: Store) -> list[Stored]:
    found: list[Stored] = []
    with ranks.together("looking for commits in checkpoint.storage"):
        if ranks.rank() == 0:
            found = remote.commits(store)
    return list(ranks.broadcast(found))


def _fetch_newer(store: Store, found: Found) -> Found:
    """`found`, or a newer commit that is fetched from the store, if one there can be fetched and verifies."""
    here = found.commit and Stored(found.commit.attempt, found.commit.step)
    set_aside = list(found.set_aside)
    for stored in _in_store(store):
        if here and stored <= here:
            break
        try:
            _fetch(store, stored, found.run_dir)
        except (OSError, ManifestError, ranks.PeerError) as error:  # no room on the disk is for a person to mend
            set_aside.append(f"{stored.name} in {store.url} cannot be fetched: {in_words(error)}")
            if ranks.rank() == 0:
                logger.warning(set_aside[-1])
            continue
        again = find_valid(found.run_dir)
        set_aside += again.set_aside
        if again.commit and (again.commit.attempt, again.commit.step) == stored:
            return again._replace(set_aside=set_aside)
        found = again
    return found._replace(set_aside=set_aside)


def _fetch(store: Store, stored: Stored, run_dir: Path) -> None:
    """Put a stored commit into the run folder, not verified yet. Every rank fetches its part of the files."""
    started, token = time.monotonic(), ranks.broadcast(uuid.uuid4().hex[:8])
    final = run_folder.commit_folder(run_dir, stored.step)
    # `.old-`: what attempt opens next sweeps it, should this one die.
    stage = final.with_name(f".old-fetched-{token}") / final.name
    with ranks.together(f"reading the manifest of {stored.name}"):
        manifest = remote.read_manifest(store, stored)
        free = run_folder.free_bytes(run_dir)
        if free is not None and free < run_folder.SPACE_FACTOR * manifest.bytes:
            raise DiskFullError(
                f"no room on the disk of run.dir ({run_dir}) for {stored.name} of {store.url}: it has "
                f"{manifest.bytes / 2**20:.1f} MiB, {free / 2**20:.1f} MiB are free. Free space, or use another disk"
            )
    mine = manifests.files_by_rank(manifest.sizes, ranks.num_ranks())[ranks.rank()]
    ranks.run_without_timeout(f"fetching {stored.name}", lambda: remote.download(store, stored, mine, stage))
    with ranks.together(f"renaming {stored.name}"):
        if ranks.rank() == 0:
            manifests.write(stage, manifest)
            run_folder.rename_into_place(stage, final)
            seconds = time.monotonic() - started
            logger.info("fetched %s from %s: %.0f MB in %.1f s", stored.name, store.url, manifest.bytes / 1e6, seconds)
