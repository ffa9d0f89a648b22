"""Commits in an object store: an S3-compatible server, seen by another client than the one under test; kill -9 while
they travel; a new machine; a store that is slow, away or damaged.
"""

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.checkpoint import store as remote
from jpo_dist.checkpoint import upload as archive
from jpo_dist.checkpoint.commit import CheckpointError, FencedError, commit
from jpo_dist.checkpoint.search import ResumeRefused
from jpo_dist.checkpoint.store import Stored, StoreError
from jpo_dist.checkpoint.upload import Uploader, find_commit, open_run
from jpo_dist.config.run import JpoConfig
from jpo_dist.distributed import ranks
from tests.support.commands import Files, Warm, commits, lines_of, numbers, tiny_files, warm_commands
from tests.support.procs import Outcome, run_ranks
from tests.support.runs import config_for
from tests.support.s3 import CREDENTIALS, Bucket, s3_server

pytestmark = [pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with pytest.MonkeyPatch.context() as patch, s3_server() as made:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture
def place(bucket: Bucket, tmp_path: Path) -> str:
    """A folder of the bucket for one test."""
    return tmp_path.name


def config(run_dir: Path, url: str, **checkpoint: Any) -> JpoConfig:
    return config_for("none", "none", run_dir, checkpoint={"storage": url, "keep": 2, **checkpoint})


def content(rank: int, step: int) -> bytes:
    return bytes([rank + 1, step % 251]) * 30_000


def save(folder: Path, step: int) -> None:
    (folder / "engine").mkdir(exist_ok=True)
    (folder / "engine" / f"rank{ranks.rank()}.pt").write_bytes(content(ranks.rank(), step))


def run(settings: JpoConfig, *steps: int, wait: bool = True) -> int | None:
    """One start: look for a commit, make those after it, wait for the last to arrive. -> the step it goes on from."""
    attempt, store = open_run(settings)
    assert store is not None
    resumed = find_commit(settings, store)
    uploads = archive.start_uploads(settings, store, attempt, resumed, _ignore) if ranks.rank() == 0 else None
    for step in steps:
        if resumed is None or step > resumed.step:
            done = commit(Path(settings.run.dir), step, attempt, lambda f, s=step: save(f, s), facts={}, keep=2)
            if uploads:
                uploads.submit(done.path)
                uploads.wait()  # one after the other: which ones are left out depends on the clock otherwise
    if uploads:
        uploads.close()
    ranks.barrier()
    return resumed.step if resumed else None


def _ignore(step: int, num_bytes: int, seconds: float) -> None:
    pass


def manifests_in(bucket: Bucket, place: str) -> list[str]:
    return [name.removesuffix("/manifest.json") for name in bucket.names(place) if name.endswith("manifest.json")]


# ---- there


@pytest.mark.slow
def test_commits_arrive_whole_and_only_the_newest_stay(bucket: Bucket, place: str, tmp_path: Path) -> None:
    settings = config(tmp_path / "run", bucket.url(place))
    assert run_ranks(run, 2, settings, 10, 20, 30, env=CREDENTIALS) == [None, None]
    assert bucket.names(place) == [
        "attempts/000001",
        *[
            f"step-000000{step}.000001/{name}"
            for step in (20, 30)
            for name in ("engine/rank0.pt", "engine/rank1.pt", "manifest.json")
        ],
    ]
    stored = bucket.client.get_object(Bucket="bucket", Key=f"{place}/step-00000030.000001/engine/rank1.pt")
    assert stored["Body"].read() == content(1, 30)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["mid-file", "after-files", "after-manifest"])
def test_kill_9_in_an_upload_leaves_no_half_commit_and_the_next_start_ends_it(
    bucket: Bucket, place: str, tmp_path: Path, point: str
) -> None:
    settings = config(tmp_path / "run", bucket.url(place))
    env = {**CREDENTIALS, "JPO_FAULT": f"upload:{point}@0@20", "JPO_FAULT_ONCE": str(tmp_path / "fired")}
    outcome: Outcome = run_ranks(run, 1, settings, 10, 20, env=env, check=False)[0]
    assert outcome.exit_code == -signal.SIGKILL
    counts = ["step-00000010.000001"] + (["step-00000020.000001"] if point == "after-manifest" else [])
    assert manifests_in(bucket, place) == counts
    if point == "after-files":
        assert "step-00000020.000001/engine/rank0.pt" in bucket.names(place), "nothing was on its way"
    assert run_ranks(run, 1, settings, env=env) == [20]
    assert manifests_in(bucket, place) == ["step-00000010.000001", "step-00000020.000001"]


# ---- and back


@pytest.mark.slow
def test_a_new_machine_goes_on_and_fences_the_old_one(bucket: Bucket, place: str, tmp_path: Path) -> None:
    old = config(tmp_path / "old", bucket.url(place))
    run_ranks(run, 2, old, 10, 20, env=CREDENTIALS)
    new = config(tmp_path / "new", bucket.url(place), resume="must")
    assert run_ranks(run, 2, new, 30, env=CREDENTIALS) == [20, 20]
    for rank in (0, 1):
        assert (tmp_path / "new/checkpoints/step-00000020/engine" / f"rank{rank}.pt").read_bytes() == content(rank, 20)
    assert sorted(os.listdir(tmp_path / "new/attempts")) == ["000002"]
    assert manifests_in(bucket, place) == ["step-00000020.000001", "step-00000030.000002"]
    before = bucket.names(place)
    store = remote.connect(bucket.url(place))
    with pytest.raises(FencedError, match=r"attempt 1 may not write to .* attempt 2 has started"):
        remote.upload(store, tmp_path / "old/checkpoints/step-00000020", 1, keep=1)
    assert bucket.names(place) == before


@pytest.mark.parametrize("damage", ["flipped", "missing", "manifest"])
def test_a_damaged_commit_in_the_store_is_passed_over(bucket: Bucket, place: str, tmp_path: Path, damage: str) -> None:
    run(config(tmp_path / "old", bucket.url(place)), 10, 20)
    key = f"{place}/step-00000020.000001/" + ("manifest.json" if damage == "manifest" else "engine/rank0.pt")
    if damage == "missing":
        bucket.client.delete_object(Bucket="bucket", Key=key)
    else:
        data = bytearray(bucket.client.get_object(Bucket="bucket", Key=key)["Body"].read())
        data[len(data) // 2] ^= 1
        bucket.client.put_object(Bucket="bucket", Key=key, Body=bytes(data))
    assert run(config(tmp_path / "new", bucket.url(place))) == 10
    bad = [name for name in commits(tmp_path / "new") if name.startswith("bad-")]
    assert bad == (["bad-step-00000020-1"] if damage == "flipped" else [])


def test_never_refuses_a_store_with_commits(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    run(config(tmp_path / "run", url), 10)
    with pytest.raises(ResumeRefused, match=r"without commits, file://.* has step-00000010\.000001"):
        run(config(tmp_path / "other", url, resume="never"), 10)


@pytest.mark.slow
def test_two_hosts_without_a_common_disk_are_told_so_before_anything_is_fetched(tmp_path: Path) -> None:
    """The store is no shared disk: run.dir has to be one, as a commit is put together in it."""
    with pytest.raises(AssertionError, match=r"run\.dir \(.*/1\) on host .* must be one folder for all hosts"):
        run_ranks(_own_folder, 2, tmp_path)


def _own_folder(folder: Path) -> None:
    from jpo_dist.checkpoint import run_folder

    run_folder.appears.__defaults__ = (0.2,)
    run(config(folder / str(ranks.rank()), f"file://{folder}/store"))


# ---- other stores, and none


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_other_file_systems_by_their_url(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://{tmp_path}/a store"
    assert run(config(tmp_path / "old", url), 10, 20, 30) is None
    store = remote.connect(url)
    assert remote.commits(store) == [Stored(1, 30), Stored(1, 20)]
    assert run(config(tmp_path / "new", url, resume="must")) == 30


@pytest.mark.slow
def test_an_address_where_nothing_answers_is_said_at_the_start(bucket: Bucket, tmp_path: Path) -> None:
    url = bucket.url("x").replace(f"{bucket.port}", "9")
    with pytest.raises(StoreError, match=r"checkpoint\.storage \(s3://.*cannot be used.*checkpoint\.storage=null"):
        open_run(config(tmp_path / "run", url))
    with pytest.raises(StoreError, match="nosuchbucket"):
        open_run(config(tmp_path / "run", bucket.url("x").replace("s3://bucket/", "s3://nosuchbucket/")))


@pytest.mark.parametrize(
    ("url", "said"), [("bucket/folder", "is not a URL"), ("s3://key:canary@bucket/folder", "has a password in it")]
)
def test_addresses_that_cannot_be_used_are_refused(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(tmp_path, url)


# ---- beside training


class Gate:
    """Stands in for the way to a slow store: an upload begins when it is told to and fails when it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.open, self.arrived, self.fails = threading.Semaphore(0), threading.Semaphore(0), False

    def upload(self, store: Any, folder: Path, attempt: int, keep: int, spare: frozenset[str] = frozenset()) -> int:
        self.begun.append(folder.name)
        self.arrived.release()
        self.open.acquire()
        if self.fails:
            raise OSError("the store is away")
        return 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate()
    monkeypatch.setattr(remote, "upload", gate.upload)
    return gate


def start_uploads(tmp_path: Path) -> Uploader:
    return Uploader(remote.connect(f"file://{tmp_path}/store"), 1, 2, _ignore)


def test_while_one_travels_only_the_newest_waits_and_neither_is_deleted(
    gate: Gate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    uploads = start_uploads(tmp_path)
    uploads.submit(tmp_path / "step-00000010")
    gate.arrived.acquire()
    uploads.submit(tmp_path / "step-00000020")
    uploads.submit(tmp_path / "step-00000030")
    assert uploads.needs == {"step-00000010", "step-00000030"}
    assert "step-00000020 is not uploaded: step-00000030 is newer, and another still travels" in caplog.text
    gate.open.release(2)
    uploads.close()
    assert gate.begun == ["step-00000010", "step-00000030"]
    assert uploads.needs == frozenset()


def test_a_failed_upload_is_tried_again_at_the_end_and_then_said(gate: Gate, tmp_path: Path) -> None:
    uploads, gate.fails = start_uploads(tmp_path), True
    gate.open.release(2)
    uploads.submit(tmp_path / "step-00000010")
    with pytest.raises(CheckpointError, match=r"step-00000010 could not be uploaded .* the store is away"):
        uploads.close()
    assert gate.begun == ["step-00000010"] * 2
    gate.fails = False
    gate.open.release()
    uploads.close()


def test_a_commit_on_its_way_survives_the_retention_of_the_run_folder(tmp_path: Path) -> None:
    settings = config(tmp_path / "run", f"file://{tmp_path}/store")
    attempt, _ = open_run(settings)
    for step in (10, 20, 30):
        spare = frozenset({"step-00000010"} if step < 30 else ())
        commit(tmp_path / "run", step, attempt, lambda f, s=step: save(f, s), facts={}, keep=1, spare=spare)
        kept = {10: {"10"}, 20: {"10", "20"}, 30: {"30"}}[step]
        assert commits(tmp_path / "run") == sorted(f"step-000000{name}" for name in kept)


# ---- a whole run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tiny_files(tmp_path_factory.mktemp("storage"))


@pytest.mark.slow
def test_a_store_of_another_run_is_refused_and_that_run_hears_nothing_of_it(
    tiny: Files, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On a new machine the files of the run in the store come first: what goes wrong then is not that run's."""
    words = ["train", tiny.config, "cluster.workers=0", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"]
    words += [f"checkpoint.storage=file://{tmp_path}/store"]
    with warm_commands(tmp_path_factory.mktemp("warm")) as warm:
        warm(*words, f"run.dir={tmp_path}/first").check()
        database = sqlite_rows(tmp_path / "mlflow.db")
        for change, said in (
            ("optim.lr=9e-9", "no step after step 6 is left that could be trained otherwise: optim.lr: 0.001 then"),
            ("objective.beta=0.7", "was written with objective.beta=0.1, now it is 0.7"),
            ("train.seed=5", "which began otherwise: train.seed: 0 then, 5 now"),
        ):
            other = tmp_path / change
            refused = warm(*words, f"run.dir={other}", change)
            assert refused.code == 2
            assert said in refused.said
            assert f"use another run.dir and another checkpoint.storage (now file://{tmp_path}/store)" in refused.said
            assert not [name for name in ("run.json", "metrics.jsonl", "tracking.jsonl") if (other / name).exists()]
        assert sqlite_rows(tmp_path / "mlflow.db") == database
        again = warm(*words, f"run.dir={tmp_path}/again").check()
    assert numbers(tmp_path / "again") == numbers(tmp_path / "first")
    assert "resumed at step 6" in again.said


def sqlite_rows(path: Path) -> dict[str, list[Any]]:
    """What MLflow knows of its runs, read from its file."""
    with closing(sqlite3.connect(path)) as database:
        return {name: database.execute(f"select * from {name} order by 1, 2").fetchall() for name in TABLES}


TABLES = ("runs", "params", "tags", "metrics")


@pytest.mark.slow
@pytest.mark.nightly
def test_a_run_that_loses_its_disk_goes_on_from_the_store_as_the_same_run(
    bucket: Bucket, tiny: Files, place: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with warm_commands(tmp_path_factory.mktemp("warm")) as warm:
        _loses_its_disk(warm, bucket, tiny, place, tmp_path)


def _loses_its_disk(warm: Warm, bucket: Bucket, tiny: Files, place: str, tmp_path: Path) -> None:
    words = ["train", tiny.config, "cluster.workers=0", f"run.dir={tmp_path}/run"]
    stored = [*words, f"checkpoint.storage={bucket.url(place)}"]
    warm(*words, f"run.dir={tmp_path}/alone", "tracking.uri=none").check()
    # The upload of step 2 has arrived before that of step 4 begins, so one of them is there for certain.
    assert warm(*stored, env={**CREDENTIALS, "JPO_FAULT": "upload:after-manifest@0@4"}).code == -signal.SIGKILL
    assert "step-00000004.000001" in manifests_in(bucket, place)
    mlflow_run = (tmp_path / "run/run.json").read_text()
    shutil.rmtree(tmp_path / "run")
    done = warm(*stored, env=CREDENTIALS).check()
    assert "resumed at step 4" in done.said
    assert numbers(tmp_path / "run") == numbers(tmp_path / "alone")
    assert [line["step"] for line in lines_of(tmp_path / "run")] == list(range(7))
    assert (tmp_path / "run/run.json").read_text() == mlflow_run
    assert "step-00000006.000002" in manifests_in(bucket, place)
