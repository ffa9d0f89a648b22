"""Which commit a run goes on from: the newest that verifies, and whether `checkpoint.resume` allows that.

All ranks call the public functions together, on a run folder that all of them see. Nothing of a commit is loaded here.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.checkpoint import run_folder
from jpo_dist.checkpoint.commit import CheckpointError, Commit, as_commit
from jpo_dist.checkpoint.manifest import ManifestError
from jpo_dist.distributed import ranks
from jpo_dist.files import in_words
from jpo_dist.run_dir import CHECKPOINTS

logger = logging.getLogger(__name__)


class ResumeRefused(CheckpointError, ValueError):
    """checkpoint.resume says must or never, and the folder is not so."""


class Found(NamedTuple):
    """What looking for commits came to, the same on all ranks."""

    run_dir: Path
    commit: Commit | None = None
    """The newest whose files are exactly what was written."""
    set_aside: Sequence[str] = ()
    """One sentence for each commit that did not verify: which, why, and where it is now."""
    bad: Sequence[str] = ()
    """Names of all that were ever set aside; known where no commit is left."""
    names: Sequence[str] = ()
    """Commits in run_dir from old to new, verified or not; known where `commit` was not looked for."""
    url: str = ""
    stored: Sequence[str] = ()
    """Commits in checkpoint.storage at `url`, newest first; known as `names` are."""


def resume_point(policy: Literal["auto", "must", "never"], found: Found) -> Commit | None:
    """Where to go on, or None for a start from nothing, as `checkpoint.resume` says of what was found.

    Raises ResumeRefused: must, and no commit verifies; never, and there are commits.
    """
    if policy == "never":
        if found.stored:
            raise ResumeRefused(
                f"checkpoint.resume (never) needs a checkpoint.storage without commits, {found.url} has "
                f"{found.stored[0]}; use another address, or checkpoint.resume=auto to continue that run"
            )
        if found.names:
            raise ResumeRefused(
                f"checkpoint.resume (never) needs a run.dir without commits, {found.run_dir} has {found.names[-1]}; "
                "use another run.dir, or checkpoint.resume=auto to continue that run"
            )
        return None
    if found.commit is None and policy == "must":
        raise ResumeRefused(
            f"checkpoint.resume (must) found no valid commit in {found.run_dir / CHECKPOINTS}: "
            f"{'; '.join(found.set_aside) or 'there is none'} (set aside so far: {', '.join(found.bad) or 'none'}). "
            "Restore one, or use checkpoint.resume=auto to start from nothing"
        )
    return found.commit


def list_names(run_dir: Path) -> Found:
    """The names of the commits in `run_dir`. None is read, verified or set aside."""
    names: list[str] = []
    with ranks.together("looking for commits"):
        if ranks.rank() == 0:
            names = sorted(path.name for path, _ in run_folder.commits(run_dir))
    return Found(run_dir, names=ranks.broadcast(names))


def find_valid(run_dir: Path) -> Found:
    """Newest to oldest, the first commit that verifies, the same on all ranks. Those that do not are set aside.

    Every rank checks the names and sizes of all files and the digests of its part of them.
    """
    set_aside: list[str] = []
    while True:
        name, bad = _newest(run_dir)
        if name is None:
            return Found(run_dir, None, set_aside, bad)
        path = run_dir / CHECKPOINTS / name
        found, problem = verified(path)
        if found is not None:
            return Found(run_dir, found, set_aside)
        moved: Path | None = None
        with ranks.together(f"setting {name} aside"):
            if ranks.rank() == 0:
                moved = run_folder.set_aside(path)
        moved = ranks.broadcast(moved)
        if moved is not None:  # None: it is gone, deleted by a retention beside us
            set_aside.append(f"{name}: {problem}; now {moved.name}")
            if ranks.rank() == 0:
                logger.warning("checkpoint %s does not verify and is set aside as %s: %s", name, moved, problem)


def _newest(run_dir: Path) -> tuple[str | None, list[str]]:
    """Name of the newest commit, as rank 0 sees it; without one, the names of those that were set aside."""
    name, bad = None, list[str]()
    with ranks.together("looking for commits"):
        if ranks.rank() == 0:
            name = next((path.name for path, _ in run_folder.commits(run_dir)), None)
            bad = [] if name else run_folder.bad_commits(run_dir)
    seen: tuple[str | None, list[str]] = ranks.broadcast((name, bad))
    return seen


def verified(path: Path) -> tuple[Commit | None, str]:
    """The commit in `path`, or why it is none, agreed on by all ranks."""
    manifest, problem = None, None
    try:
        run_folder.appears(path)
        manifest = manifests.read(path)
        if path != run_folder.commit_folder(path.parent.parent, manifest.step):
            problem = f"its manifest is that of step {manifest.step}"
    except FileNotFoundError:
        problem = "its folder is not there"
    except (ManifestError, OSError) as error:
        problem = in_words(error)
    seen = ranks.gather((problem, manifest and manifest.digest))
    problem = next((problem for problem, _ in seen if problem), None)
    if problem is None and len({digest for _, digest in seen}) > 1:
        problem = "ranks read different manifests"  # the files are dealt out below by what it says
    if problem is not None or manifest is None:
        return None, problem or "no manifest"
    try:
        mine = manifests.files_by_rank(manifest.sizes, len(seen))[ranks.rank() if len(seen) > 1 else 0]
        problem = manifests.problem_with(path, manifest, mine)
    except OSError as error:
        problem = f"cannot be read: {in_words(error)}"
    problem = next((problem for problem in ranks.gather(problem) if problem), None)
    return (None, problem) if problem else (as_commit(path, manifest, manifest.seconds), "")
