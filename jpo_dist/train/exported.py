"""Which commit an export is of, and whether the run in a folder is at its end and that end is exported.

Beside the card of an export lies a note, `.exported.json`: {"step", "commit", "last_step", "end_of", "export_dtype"}.
By `end_of` it is known again: the digest of the newest commit of the run, where a run that ended with that commit would
export the same weights. These are of that commit, or of an earlier one that checkpoint.best says is the best.
"""

from pathlib import Path
from typing import Any

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.checkpoint.manifest import MANIFEST, Manifest
from jpo_dist.checkpoint.run_folder import commit_folder, commits
from jpo_dist.config.sft import AnyConfig
from jpo_dist.distributed import ranks
from jpo_dist.distributed.notices import notify
from jpo_dist.files import read_json
from jpo_dist.run_dir import EXPORT, EXPORT_MERGED, EXPORTED, PLAN

WEIGHTS = "*.safetensors"


def note(chosen: Path, newest: Path, config: AnyConfig, *, as_at_the_end: bool) -> dict[str, Any]:
    """What an export of the commit in `chosen` says of itself, while `newest` is the newest of the run.

    `as_at_the_end`: a run that ended with that one would export the same. Raises ManifestError, FileNotFoundError.
    """
    of, last = manifests.read(chosen), manifests.read(newest)
    return {
        "step": of.step,
        "commit": of.digest,
        "last_step": last.step,
        "end_of": last.digest if as_at_the_end else None,
        "export_dtype": config.model.export_dtype,
    }


def at_end(run_dir: Path) -> tuple[Path, Manifest] | None:
    """The newest commit, where no step is left after it; by the files of the folder."""
    path, manifest = next(iter(commits(run_dir)), (run_dir, None))
    if manifest is None:  # none there, or not to be read
        return None
    stopped = manifest.facts.get("state", {}).get("stopped", False)
    return (path, manifest) if stopped or manifest.step == read_json(run_dir / PLAN).get("num_steps") else None


def finished_at(config: AnyConfig) -> int | None:
    """The last step of a run that is at its end, with that end exported; None for any other.

    Such a run trains no step more, whatever it is started with: its number of steps is part of what it is.
    """
    end = at_end(Path(config.run.dir))
    return end[1].step if end is not None and not lacking(config, *end) else None


def had_finished(run_dir: Path) -> bool:
    """Whether a run has come to its end in a folder at some time, which may have lost its commits since."""
    return (run_dir / EXPORT).exists() and (at_end(run_dir) is not None or not commits(run_dir))


def lacking(config: AnyConfig, path: Path, end: Manifest) -> str:
    """Why what is exported is not the end of the run, the commit in `path`; "" where it is."""
    adapted = bool(config.model.lora.rank)
    wanted = [EXPORT, *([EXPORT_MERGED] if adapted and config.model.lora.merge_on_export else [])]
    whole, run_dir = wanted[-1] if EXPORT_MERGED in wanted or not adapted else None, Path(config.run.dir)
    for name in wanted:
        known = read_json(run_dir / name / EXPORTED)
        if not any((run_dir / name).glob(WEIGHTS)):
            return f"there is no {name}"
        if not known:
            if (run_dir / EXPORT / EXPORTED).exists():
                return f"{name} is of an earlier export"
            if not _is_later(run_dir, name, path):
                return f"{name} is older than that"
        elif known.get("end_of") != end.digest:
            earlier = ", of an earlier run" if known["step"] == end.step and known["commit"] != end.digest else ""
            return f"{name} is of step {known['step']}{earlier}"
        elif name == whole and known.get("export_dtype") != config.model.export_dtype:
            return f"{name} was written with model.export_dtype={known.get('export_dtype')}"
    return ""


def is_merge_of_export(run_dir: Path) -> bool:
    """Whether the merge in a run folder is of the adapter beside it."""
    adapter, merge = (read_json(run_dir / name / EXPORTED) for name in (EXPORT, EXPORT_MERGED))
    if adapter or merge:
        return adapter.get("commit") == merge.get("commit")
    return _written(run_dir / EXPORT_MERGED) >= _written(run_dir / EXPORT) > 0


def _is_later(run_dir: Path, name: str, commit: Path) -> bool:
    """Whether an export without a note, which an earlier version wrote, came after what it would be of: after the last
    commit, and a merge after its adapter."""
    written = _written(run_dir / name)
    return written >= (commit / MANIFEST).stat().st_mtime and written >= _written(run_dir / EXPORT)


def _written(export: Path) -> float:
    return max((file.stat().st_mtime for file in export.glob(WEIGHTS)), default=0.0)


def is_done(config: AnyConfig, step: int) -> bool:
    """Whether a run that goes on from `step` has nothing left to do, not even its export; where it is the export alone
    that is left, it says why. All ranks call it, before the first step."""
    done, run_dir = False, Path(config.run.dir)
    with ranks.together("looking at the export"):
        end = at_end(run_dir) if ranks.rank() == 0 else None
        if end is not None and end[1].step == step:
            missing = lacking(config, *end)
            done = not missing
            if missing:
                again = _how_again(run_dir, step)
                notify(run_dir, f"the run was at its end, step {step}, but {missing}: its end is exported now{again}")
    return bool(ranks.broadcast(done))


def _how_again(run_dir: Path, last: int) -> str:
    """How a person gets back the export that is replaced, where its commit is still there."""
    step = read_json(run_dir / EXPORT / EXPORTED).get("step", last)
    kept = step != last and commit_folder(run_dir, step).is_dir()
    return f"; `jpo export --commit {step}` writes that one again" if kept else ""
