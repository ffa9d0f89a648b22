"""Of two commands in one folder the second is told who is there; a killed one holds nothing."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from jpo_dist.folders import together
from jpo_dist.locks import InUse, alone_in, is_gone, owner_of, whose_pids

HOLDER = """
import sys, time
from jpo_dist.locks import alone_in
with alone_in(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_loser_is_told_who_holds_the_place_and_a_kill_gives_it_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InUse) as caught, alone_in(tmp_path):
            pass
        said = str(caught.value)
        assert f"output ({tmp_path}) is in use by another run: process {holder.pid} on host " in said
        assert str(tmp_path) in said
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with alone_in(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()
    assert (tmp_path / ".lock").read_text() == ""


def test_parts_of_a_folder_have_locks_of_their_own(tmp_path: Path) -> None:
    with alone_in(tmp_path), alone_in(tmp_path, lock=".export.lock"), pytest.raises(InUse), alone_in(tmp_path):
        pass


def test_a_child_that_outlives_its_killed_parent_holds_nothing(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as inherited:
        fcntl.flock(inherited, fcntl.LOCK_EX)
        gone = subprocess.Popen(["true"])
        gone.wait()
        about = {"host": "h", "pid": gone.pid, "pids": whose_pids(), "since": "then", "command": "jpo train"}
        (tmp_path / ".lock").write_text(json.dumps(about))
        with alone_in(tmp_path):
            pass
        (tmp_path / ".lock").write_text(json.dumps({**about, "pids": "of others"}))


IN_A_CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", sys.executable, "-c"]
"""A process with numbers of processes of its own, and the name of this host: what two containers on its network are."""

INTRUDER = """
import sys
from jpo_dist.folders import together
from jpo_dist.locks import InUse, alone_in
with together(sys.argv[1]):
    pass
try:
    with alone_in(sys.argv[1]):
        print("inside")
except InUse as error:
    print(error)
"""


def test_a_process_that_a_container_cannot_see_is_not_taken_for_one_that_has_ended(tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run([*IN_A_CONTAINER, ""], check=False).returncode:
        pytest.skip("this user can make no namespaces")
    with alone_in(tmp_path), together(tmp_path) as writing:
        done = subprocess.run([*IN_A_CONTAINER, INTRUDER, str(tmp_path)], capture_output=True, text=True, check=True)
        assert f"({tmp_path}) is in use by another run: process {os.getpid()} on host " in done.stdout
        (writing.folder / "a").write_text("kept")
    assert (tmp_path / "a").read_text() == "kept"


def test_only_a_process_of_this_boot_and_namespace_can_be_seen_to_have_ended() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert is_gone(gone.pid, whose_pids())
    assert not is_gone(os.getpid(), whose_pids())
    assert not is_gone(gone.pid, "")
    assert not is_gone(gone.pid, "of others")


def test_where_no_byte_can_be_written_the_place_is_held_all_the_same(tmp_path: Path) -> None:
    """As on a full disk: a command that has its own error tells that one, and not another of the lock."""
    code = (
        "import resource, sys; from jpo_dist.locks import alone_in\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "with alone_in(sys.argv[1]): raise SystemExit('its own')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stderr == "its own\n"


def test_two_that_find_the_lock_of_one_that_is_gone_do_not_both_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the first is about to remove it, and would have its own new lock removed."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    about = {"host": "h", "pid": gone.pid, "pids": whose_pids(), "since": "then", "command": "jpo train"}
    (tmp_path / ".lock").write_text(json.dumps(about))
    inside, removed, over = [0], threading.Event(), threading.Event()
    remove = Path.unlink

    def second() -> None:
        try:
            with alone_in(tmp_path):
                inside[0] += 1
                removed.set()
                over.wait(20)
        except InUse:
            removed.set()

    thread = threading.Thread(target=second)

    def slowly(path: Path, missing_ok: bool = False) -> None:
        monkeypatch.setattr(Path, "unlink", remove)
        thread.start()
        removed.wait(0.3)  # as long as the second may take, if nothing holds it
        remove(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", slowly)
    with alone_in(tmp_path):
        inside[0] += 1
        assert removed.wait(20)
        assert inside[0] == 1
    over.set()
    thread.join()


def test_a_damaged_lock_tells_nobody_and_holds_nobody(tmp_path: Path) -> None:
    for said in ("[]", "{", '{"pid": 1}', "\0"):
        (tmp_path / ".lock").write_text(said)
        assert owner_of(tmp_path / ".lock") == ""
        with alone_in(tmp_path):
            pass
