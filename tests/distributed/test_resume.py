"""Runs that are killed with SIGKILL and go on: the same losses byte for byte, the same MLflow run, each step once."""

import json
import pickle
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint
from safetensors.torch import load_file

from jpo_dist.checkpoint import manifest as manifests
from jpo_dist.digests import size_and_digests
from tests.support.commands import (
    Done,
    Files,
    Warm,
    commits,
    lines_of,
    losses,
    numbers,
    tiny_files,
    torchrun,
    tracked,
    warm_commands,
)
from tests.support.malicious import Malicious
from tests.support.tiny import comparisons, write_jsonl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tiny_files(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with warm_commands(tmp_path_factory.mktemp("warm")) as commands:
        yield commands


@pytest.fixture(scope="module")
def alone(tiny: Files, warm: Warm) -> Path:
    """The uninterrupted run of one process."""
    return train_alone(tiny, warm, tiny.folder / "alone" / "run")


@pytest.fixture(scope="module")
def pair(tiny: Files, warm: Warm) -> Path:
    """The uninterrupted run of two ranks."""
    run_dir = tiny.folder / "pair" / "run"
    warm.ranks(2, "train", tiny.config, f"run.dir={run_dir}").check()
    return run_dir


def train_alone(tiny: Files, warm: Warm, run_dir: Path, *more: str) -> Path:
    warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", *more).check()
    return run_dir


def copy_of(run_dir: Path, target: Path) -> Path:
    shutil.copytree(run_dir, target)
    return target


def assert_same_run(run_dir: Path, uninterrupted: Path) -> None:
    assert numbers(run_dir) == numbers(uninterrupted)
    ours, theirs = (load_file(folder / "export" / "model.safetensors") for folder in (run_dir, uninterrupted))
    assert all(ours[name].equal(theirs[name]) for name in theirs)


@pytest.mark.nightly
def test_ray_replaces_a_killed_worker_and_the_run_finishes_by_itself(
    tiny: Files, warm: Warm, pair: Path, tmp_path: Path
) -> None:
    run_dir, once = tmp_path / "run", tmp_path / "fired"
    fault = ["cluster.env.JPO_FAULT=train:step@1@4", f"cluster.env.JPO_FAULT_ONCE={once}"]
    warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=2", "cluster.max_failures=1", *fault).check()
    assert once.exists(), "nobody was killed"
    events = [json.loads(line) for line in (run_dir / "ray" / "cluster.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events].count("failure") == 1
    assert len(list((run_dir / "attempts").iterdir())) == 2
    assert_same_run(run_dir, pair)
    assert tracked(run_dir)[1] == "FINISHED"


@pytest.mark.nightly
def test_torchrun_killed_inside_a_commit_goes_on_by_the_same_command(tiny: Files, pair: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    words = ["train", tiny.config, f"run.dir={run_dir}"]
    killed = torchrun(*words, env={"JPO_FAULT": "commit:after-manifest@0@4"})
    assert killed.code != 0
    assert "step-00000004" not in commits(run_dir)
    assert lines_of(run_dir)[-1]["step"] == 4, "the lines of a commit are on disk before the commit"
    before = mark_of(run_dir)
    again = torchrun(*words).check()
    assert "resumed at step 2" in again.said
    assert_same_run(run_dir, pair)
    assert (mark_of(run_dir), tracked(run_dir)[1]) == (before, "FINISHED")


def mark_of(run_dir: Path) -> str:
    """By which the MLflow run is found again: it is there before the run is made, which a kill may come before."""
    return str(json.loads((run_dir / "run.json").read_text())["mlflow"]["uid"])


@pytest.mark.parametrize(
    ("fault", "goes_on_at"),
    [
        pytest.param("train:step@0@2", 0, marks=pytest.mark.nightly),
        pytest.param("train:step@0@6", 4, marks=pytest.mark.nightly),  # resumes where the last of these does
        ("commit:mid-shard@0@4", 2),
        pytest.param("commit:after-rename@0@4", 4, marks=pytest.mark.nightly),  # by day in test_commit_faults
    ],
)
def test_one_process_killed_goes_on_by_the_same_command(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path, fault: str, goes_on_at: int
) -> None:
    run_dir = tmp_path / "run"
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0"]
    assert warm(*words, env={"JPO_FAULT": fault}).code == -signal.SIGKILL
    before = mark_of(run_dir)
    again = warm(*words).check()
    assert (f"resumed at step {goes_on_at}" in again.said) == (goes_on_at > 0)
    assert_same_run(run_dir, alone)
    assert (mark_of(run_dir), tracked(run_dir)[1]) == (before, "FINISHED")


def test_a_reference_that_follows_the_policy_goes_on_from_where_the_commit_left_it(
    tiny: Files, warm: Warm, tmp_path: Path
) -> None:
    """Refreshed after step 3, killed in step 6, resumed at 4: with the reference of reference.path it would be another
    run. The loss is another one too: a resumed run takes it up by its settings alone."""
    follows = ["reference.refresh_every=3", "reference.refresh_share=0.5", "objective.loss=davidson"]
    whole = train_alone(tiny, warm, tmp_path / "whole", *follows)
    run_dir = tmp_path / "run"
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", *follows]
    assert warm(*words, env={"JPO_FAULT": "train:step@0@6"}).code == -signal.SIGKILL
    assert "resumed at step 4" in warm(*words).check().said
    assert_same_run(run_dir, whole)
    kept = run_dir / "checkpoints" / "step-00000004" / "reference" / "part-00000.safetensors"
    first = load_file(Path(tiny.model) / "model.safetensors")
    moved = {name.removeprefix("model."): tensor for name, tensor in load_file(kept).items()}
    assert all(bool((moved[name] != tensor).any()) for name, tensor in first.items())
    kept = run_dir / "checkpoints" / "step-00000006" / "reference" / "part-00000.safetensors"
    data = bytearray(kept.read_bytes())
    data[-1] ^= 1
    kept.write_bytes(data)
    assert "step-00000006 does not verify and is set aside" in warm(*words).check().said


def test_a_finished_run_started_again_trains_no_step(tiny: Files, warm: Warm, alone: Path, tmp_path: Path) -> None:
    run_dir = copy_of(alone, tmp_path / "run")
    (run_dir / "export" / "model.safetensors").unlink()
    times = [line["ts_ms"] for line in lines_of(run_dir)]
    train_alone(tiny, warm, run_dir)
    assert [line["ts_ms"] for line in lines_of(run_dir)] == times
    assert_same_run(run_dir, alone)


def test_an_export_of_another_commit_does_not_pass_for_the_end_of_the_run(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    """Killed between the last commit and the export, beside one that a person asked for on the way."""
    run_dir = copy_of(alone, tmp_path / "run")
    words = [tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none"]
    warm("export", *words, "--commit", "4").check()
    shutil.rmtree(run_dir / "checkpoints" / "step-00000006")
    assert warm("train", *words, env={"JPO_FAULT": "commit:after-rename@0@6"}).code == -signal.SIGKILL
    said = warm("train", *words).check().said
    assert "the run was at its end, step 6, but export is of step 4: its end is exported now; `jpo export" in said
    assert_same_run(run_dir, alone)
    assert "the run was finished at step 6: nothing was trained" in warm("train", *words).check().said


def test_a_merge_that_died_is_made_by_the_same_command(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    lora = ["model.lora.rank=4", "model.lora.merge_on_export=true", "reference.mode=adapter_off", "train.max_steps=1"]
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", *lora]
    assert warm(*words, env={"JPO_FAULT": "export:before-merge@0@1"}).code == -signal.SIGKILL
    assert (run_dir / "export" / "adapter_model.safetensors").exists()
    assert "at its end, step 1, but there is no export-merged: its end is exported now" in warm(*words).check().said
    assert load_file(run_dir / "export-merged" / "model.safetensors")
    assert "the run was finished at step 1" in warm(*words).check().said


def test_a_finished_run_started_with_another_optim_is_refused_and_keeps_its_records(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    """Else they would say of the weights what is not true of them."""
    run_dir = copy_of(alone, tmp_path / "run")
    kept = [run_dir / "config.yaml", run_dir / "export" / "README.md", run_dir / "metrics.jsonl"]
    before = [path.read_bytes() for path in kept]
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none"]
    assert "the run was finished at step 6: nothing was trained" in warm(*words, "run.name=other").check().said
    refused = warm(*words, "optim.lr=9e-9")
    assert refused.code == 2
    assert "no step after step 6 is left that could be trained otherwise: optim.lr: 0.001 then, 9e-09" in refused.said
    assert "set it back, or use another run.dir" in refused.said
    assert [path.read_bytes() for path in kept] == before


def test_another_optim_on_the_way_is_said_and_counts_at_the_end(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    run_dir = copy_of(alone, tmp_path / "run")
    shutil.rmtree(run_dir / "checkpoints" / "step-00000006")
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none"]
    changed = [*words, "optim.lr=9e-9", "optim.grad_clip=0.5"]
    said = warm(*changed).check().said
    assert "the steps after step 4 are trained otherwise: optim.lr: 0.001 then, 9e-09 now; optim.grad_clip: " in said
    again = warm(*changed).check().said
    assert "nothing was trained" in again
    assert "trained otherwise" not in again
    assert warm(*words).code == 2


def test_a_flipped_bit_in_the_newest_commit_is_found_and_the_one_before_is_used(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    run_dir = copy_of(alone, tmp_path / "run")
    shard = max((run_dir / "checkpoints" / "step-00000006" / "engine").glob("*optim_states.pt"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    done = warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none").check()
    assert "step-00000006 does not verify and is set aside" in done.said
    assert shard.name in done.said
    assert "resumed at step 4" in done.said
    assert "bad-step-00000006-1" in commits(run_dir)
    assert_same_run(run_dir, alone)


def test_a_malicious_pickle_in_a_commit_is_never_loaded(tiny: Files, warm: Warm, alone: Path, tmp_path: Path) -> None:
    """Once where it does not verify, and once with a manifest of its own, as a commit of another run."""
    owned = tmp_path / "owned"
    run = ["train", tiny.config, "cluster.workers=0", "tracking.uri=none"]
    poisoned, forged = (copy_of(alone, tmp_path / name) for name in ("poisoned", "forged"))
    for run_dir in (poisoned, forged):
        [shard] = (run_dir / "checkpoints" / "step-00000006" / "engine").glob("*optim_states.pt")
        shard.write_bytes(pickle.dumps(Malicious(owned)).ljust(shard.stat().st_size, b"\0"))
    again = warm(*run, f"run.dir={poisoned}").check()
    assert "step-00000006 does not verify and is set aside" in again.said
    assert "resumed at step 4" in again.said
    assert not owned.exists()

    commit = forged / "checkpoints" / "step-00000006"
    old, name = manifests.read(commit), f"engine/{shard.name}"
    files = {**old.files, name: size_and_digests(shard)}
    manifests.write(commit, manifests.Manifest(**{**vars(old), "files": files}))
    other = warm(*run, f"run.dir={forged}", "train.seed=5").check(2)
    assert "holds a run at step 6, which began otherwise" in other.said
    assert not owned.exists()


# ---- single items: SFT and KTO


def words_for(tiny: Files, method: str) -> list[str]:
    """The command of a run over the same data, without its run.dir."""
    of_items = ["cluster.workers=0", "tracking.uri=none", "train.items_per_step=8"]
    if method == "kto":
        return ["train", tiny.config, *of_items, "objective.loss=kto"]
    settings = yaml.safe_load(Path(tiny.config).read_text(encoding="utf-8"))
    config = tiny.folder / "sft.yaml"
    config.write_text(yaml.safe_dump({**settings, "sft": {}}), encoding="utf-8")
    return ["sft", str(config), *of_items, "train.max_steps=6"]


@pytest.fixture(scope="module")
def learned(tiny: Files, warm: Warm) -> dict[str, Path]:
    """The uninterrupted runs of one process, by method."""
    found = {}
    for method in ("sft", "kto"):
        found[method] = tiny.folder / method / "run"
        warm(*words_for(tiny, method), f"run.dir={found[method]}").check()
    return found


@pytest.mark.parametrize("method", ["sft", "kto"])
def test_a_killed_run_over_single_items_goes_on_with_the_same_losses(
    tiny: Files, warm: Warm, learned: dict[str, Path], tmp_path: Path, method: str
) -> None:
    words = [*words_for(tiny, method), f"run.dir={tmp_path / 'run'}"]
    assert warm(*words, env={"JPO_FAULT": "train:step@0@4"}).code == -signal.SIGKILL
    assert "resumed at step 2" in warm(*words).check().said
    assert_same_run(tmp_path / "run", learned[method])
    lines = [line["metrics"] for line in lines_of(tmp_path / "run")]
    assert lines[6]["loss"] < lines[1]["loss"]
    assert {"loss", "perplexity"} <= lines[6].keys() if method == "sft" else lines[6]["kl"] >= 0
    assert "eval/examples" in lines[6]


def test_what_sft_exports_is_aligned_next(tiny: Files, warm: Warm, learned: dict[str, Path], tmp_path: Path) -> None:
    export = learned["sft"] / "export"
    assert "responses to instructions (SFT)" in (export / "README.md").read_text(encoding="utf-8")
    train_alone(tiny, warm, tmp_path / "run", f"model.path={export}", "train.max_steps=1")
    assert lines_of(tmp_path / "run")[1]["metrics"]["loss"] == pytest.approx(0.6931472, abs=1e-6)


def test_sft_in_the_folder_of_an_alignment_is_refused(tiny: Files, warm: Warm, alone: Path, tmp_path: Path) -> None:
    run_dir = copy_of(alone, tmp_path / "run")
    refused(warm(*words_for(tiny, "sft"), f"run.dir={run_dir}"), "holds a run at step 6, which began otherwise")
    assert_same_run(run_dir, alone)


@pytest.mark.nightly
def test_sft_under_ray_is_sft_under_torchrun(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    words = words_for(tiny, "sft")
    for name, workers, start in (("ray", 2, warm), ("ranks", 0, lambda *w: warm.ranks(2, *w))):
        start(*words, f"run.dir={tmp_path / name}", f"cluster.workers={workers}", "train.max_steps=2").check()
    assert numbers(tmp_path / "ray") == numbers(tmp_path / "ranks")


# ---- what is refused


def refused(done: Done, *said: str) -> None:
    """One message, without a traceback, and the exit code of wrong settings."""
    done.check(2)
    for words in said:
        assert words in done.said
    assert "Traceback" not in done.said


def test_must_without_a_commit_says_so(tiny: Files, warm: Warm, tmp_path: Path) -> None:
    done = warm(
        "train", tiny.config, f"run.dir={tmp_path / 'run'}", "cluster.workers=0", "tracking.uri=none",
        "checkpoint.resume=must",
    )  # fmt: skip
    refused(done, "checkpoint.resume (must) found no valid commit in", "use checkpoint.resume=auto")


def test_never_refuses_a_used_run_dir_and_leaves_it_alone(tiny: Files, warm: Warm, alone: Path, tmp_path: Path) -> None:
    run_dir = copy_of(alone, tmp_path / "run")
    done = warm(
        "train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", "checkpoint.resume=never"
    )
    refused(done, f"checkpoint.resume (never) needs a run.dir without commits, {run_dir} has step-00000006")
    assert_same_run(run_dir, alone)


def test_another_number_of_ranks_is_refused(tiny: Files, warm: Warm, pair: Path, tmp_path: Path) -> None:
    run_dir = copy_of(pair, tmp_path / "run")
    done = warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none")
    refused(done, "was written by 2 ranks, now there are 1", "set cluster.workers=2")
    assert_same_run(run_dir, pair)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.train=OTHER", "contents of data.train: 40 comparisons of"),
        ("train.comparisons_per_step=4", "train.comparisons_per_step: 8 then, 4 now; "),
        ("train.max_steps=9", "train.max_steps: 6 then, 9 now; number of steps: 6 then, 9 now; set it back"),
    ],
    ids=["data", "batch", "steps"],
)
def test_another_plan_is_refused(tiny: Files, warm: Warm, alone: Path, tmp_path: Path, change: str, said: str) -> None:
    run_dir = copy_of(alone, tmp_path / "run")
    setting = change.replace("OTHER", write_jsonl(tmp_path / "other.jsonl", comparisons(41)))
    done = warm("train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", setting)
    refused(done, f"run.dir ({run_dir}) holds a run at step 6, which began otherwise: {said}", "use another run.dir")
    assert_same_run(run_dir, alone)


def test_renamed_and_moved_files_of_the_same_contents_are_the_same_run(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    run_dir = copy_of(alone, tmp_path / "run")
    shutil.rmtree(run_dir / "checkpoints" / "step-00000006")
    data = shutil.copy(tiny.train, tmp_path / "moved and renamed.jsonl")
    model = shutil.copytree(tiny.model, tmp_path / "a copy")
    done = warm(
        "train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", f"data.train={data}",
        f"model.path={model}",
    ).check()  # fmt: skip
    assert "resumed at step 4" in done.said
    assert_same_run(run_dir, alone)


def test_a_refused_start_leaves_the_finished_run_as_it_was(tiny: Files, warm: Warm, pair: Path, tmp_path: Path) -> None:
    """Its message points to the settings in config.yaml."""
    folder = copy_of(pair.parent, tmp_path / "both")
    run_dir, database = folder / "run", f"sqlite:///{folder / 'mlflow.db'}"
    before = (run_dir / "config.yaml").read_text()
    words = ["train", tiny.config, f"run.dir={run_dir}", f"tracking.uri={database}", "cluster.workers=0"]
    assert warm(*words, "checkpoint.resume=never").code == 2
    assert warm(*words, "train.comparisons_per_step=4").code == 2
    assert yaml.safe_load((run_dir / "config.yaml").read_text()) == yaml.safe_load(before)
    assert tracked(run_dir)[1] == "FINISHED"


BEST = ["train.eval_every=1", "checkpoint.best=eval/loss", "checkpoint.best_is=high", "checkpoint.keep=1"]
"""The loss falls here, so that the first evaluation stays the best one."""


def test_the_best_commit_survives_a_kill_and_is_exported_when_gains_end(
    tiny: Files, warm: Warm, alone: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    words = ["train", tiny.config, f"run.dir={run_dir}", "cluster.workers=0", "tracking.uri=none", *BEST]
    words += ["train.stop_when={evaluations: 4}"]
    assert warm(*words, env={"JPO_FAULT": "train:step@0@4"}).code == -signal.SIGKILL
    assert commits(run_dir) == ["step-00000001", "step-00000002"]
    done = warm(*words).check()
    assert "resumed at step 2" in done.said
    evaluated = [line["metrics"]["eval/loss"] for line in lines_of(run_dir)][1:]
    assert len(evaluated) == 5, "it ends after four evaluations without a gain"
    assert max(evaluated) == evaluated[0]
    assert "ended at step 5: 4 evaluations without a gain since eval/loss" in done.said
    assert losses(run_dir) == losses(alone)[:5]
    assert commits(run_dir) == ["step-00000001", "step-00000005"]
    weights = get_fp32_state_dict_from_zero_checkpoint(str(run_dir / "checkpoints" / "step-00000001"), tag="engine")
    exported = load_file(run_dir / "export" / "model.safetensors")
    assert exported
    assert all(tensor.equal(weights[f"model.{name}"]) for name, tensor in exported.items())
    assert f"| eval/loss | {evaluated[0]:.4f} |" in (run_dir / "export" / "README.md").read_text()
    assert "the run was finished at step 5: nothing was trained" in warm(*words).check().said


@pytest.mark.nightly
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_export_takes_the_commit_that_is_named(tiny: Files, warm: Warm, tmp_path: Path, stage: int) -> None:
    """By one process, whatever number of ranks has written it."""
    run_dir = tmp_path / "run"
    words = [tiny.config, f"run.dir={run_dir}", "tracking.uri=none", f"engine.zero_stage={stage}", *BEST]
    warm.ranks(2, "train", *words, "cluster.workers=2").check()
    assert commits(run_dir) == ["step-00000001", "step-00000006"]

    def exported(*more: str) -> dict[str, torch.Tensor]:
        if more:
            warm("export", *words, "cluster.workers=2", *more).check()
        return dict(load_file(run_dir / "export" / "model.safetensors"))

    at_the_end = exported()
    for which in ([], ["--commit", "best"], ["--commit", "1"]):
        again = exported(*which)
        assert all(again[name].equal(at_the_end[name]) for name in at_the_end)
    for which in (["--commit", "newest"], ["--commit", "6"]):
        again = exported(*which)
        assert not all(again[name].equal(at_the_end[name]) for name in at_the_end)
    done = warm("export", *words, "--commit", "3")
    assert (done.code, "Errno" in done.said) == (2, False)
    assert "no commit of step 3 (its folder is not there); there are: 6, 1" in done.said
