"""Each command that writes, on a host that is against it: it ends as elsewhere or in one sentence, never in silence."""

import os
import re
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from tests.support.attacks import record
from tests.support.commands import ROOT, Files, Warm, environment, operator
from tests.support.disk import fill_up, small_disk
from tests.support.raw_server import raw_server, silent
from tests.support.writing import prepare

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

SILENCE_S = 30
"""The longest time without a word."""
DEAD = "http://127.0.0.1:9"
TRIED = ("build", "judge", "winrate", "generate", "train", "sft", "export", "evaluate", "score", "run", "study")
SLOW = ("run", "study")
"""Commands of several processes: no tracking server is tried with them, whose stages are tried alone."""
NAMES = {"quotes": 'it\'s "q"', "newline": "a\nb", "unicode": "Ünï 数据 é", "long": "x" * 200}


class Host(NamedTuple):
    """What is wrong with a host: words before a command, variables, and a check whether this one can be made so."""

    before: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    needs: tuple[str, ...] = ()
    may_fail: bool = True


SHM = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
HOME = 'mount -t tmpfs -o ro tmpfs "$HOME" && exec "$@"'
BOTH = SHM.replace('exec "$@"', HOME)
HOSTS = {
    "file size limit": Host(("prlimit", "--fsize=8192")),
    "64 file descriptors": Host(("prlimit", "--nofile=64"), may_fail=False),
    "small shared memory": Host(("unshare", "-m", "sh", "-c", SHM, "sh"), (), ("unshare", "-m", "true"), False),
    "locale C": Host(env=(("LC_ALL", "C"), ("PYTHONUTF8", "0")), may_fail=False),
    "a user without a name": Host(
        ("unshare", "-U", "--map-user=12345"), (("USER", ""), ("LOGNAME", "")),
        ("unshare", "-U", "--map-user=12345", "true"), may_fail=False,
    ),
    "read-only HOME": Host(
        ("unshare", "-m", "sh", "-c", HOME, "sh"), (("HOME", "TMP"),), ("unshare", "-m", "true"), may_fail=False
    ),
    "missing HOME": Host(env=(("HOME", "/nowhere/at/all"),), may_fail=False),
    "HOME not set": Host(("env", "-u", "HOME"), may_fail=False),
    "TMPDIR gone": Host(env=(("TMPDIR", "/nowhere/at/all"),), may_fail=False),
    "all of it": Host(
        ("prlimit", "--nofile=64", "unshare", "-m", "sh", "-c", BOTH, "sh"),
        (("HOME", "TMP"), ("TMPDIR", "/nowhere/at/all"), ("LC_ALL", "C"), ("PYTHONUTF8", "0"), ("http_proxy", DEAD),
         ("USER", ""), ("LOGNAME", "")),
        ("unshare", "-m", "true"), may_fail=False,
    ),
    "dead proxy": Host(env=tuple((name, DEAD) for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY")), may_fail=False),
}  # fmt: skip


def told(words: list[str], env: dict[str, str]) -> tuple[int, str, float]:
    """Exit code of a command, all that it said, and the longest time in which it said nothing, less what it had to wait
    for a core."""
    process = subprocess.Popen(
        words, env=environment(env), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    waited: dict[int, float] = {}
    said, last, longest = b"", time.monotonic(), 0.0
    over = threading.Timer(600, lambda: os.killpg(process.pid, 9))
    over.start()
    while True:
        is_something = select.select([process.stdout], [], [], 1.0)[0]
        waited |= waits(process.pid)
        now = time.monotonic() - sum(waited.values())
        if not is_something:
            continue
        piece = os.read(process.stdout.fileno(), 65536)
        said, longest, last = said + piece, max(longest, now - last), now
        if not piece:
            break
    code = process.wait()
    over.cancel()
    return code, said.decode("utf-8", "replace"), longest


def waits(pid: int) -> dict[int, float]:
    """The seconds in which a process and its children were ready to work and other work had the cores, by process."""
    found = {}
    with suppress(psutil.NoSuchProcess):
        for one in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(OSError):
                found[one.pid] = int(Path(f"/proc/{one.pid}/schedstat").read_text().split()[1]) / 1e9
    return found


def check(code: int, said: str, quiet_s: float, may_fail: bool) -> None:
    """Exit code 0, or one sentence and no traceback; no silence."""
    assert code in ((0, 1, 2) if may_fail else (0,)), f"exit code {code}\n{said[-3000:]}"
    assert "Traceback" not in said, said[-3000:]
    assert code == 0 or re.search(r"error \(exit \d+\):|error:", said), said[-3000:]
    assert quiet_s < SILENCE_S, f"{quiet_s:.0f} s without a word"


def came(code: int) -> dict[str, int]:
    """What the table says of a command that has passed `check`."""
    return {"done as elsewhere" if code == 0 else "ended in a sentence, and done when the host was good again": 1}


def jpo_words(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "launcher", *words]


@pytest.mark.parametrize("name", TRIED)
@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_lacks_something(host: str, name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    bad = HOSTS[host]
    if bad.needs and subprocess.run(bad.needs, capture_output=True, check=False).returncode:
        pytest.skip(f"{' '.join(bad.needs)} is not permitted here")
    made = prepare(name, tmp_path / "made", tiny, warm)
    before = made.state(made.output)
    (tmp_path / "home").mkdir()
    env = {name: value.replace("TMP", str(tmp_path / "home")) for name, value in bad.env}
    code, said, quiet_s = told([*bad.before, *jpo_words(made.words)], {**operator(), **env})
    check(code, said, quiet_s, bad.may_fail)
    after = made.state(made.output)  # raises for what is half there
    assert after is not None if code == 0 else after in (before, None), said[-2000:]
    if code:
        warm(*made.words).check()  # the same command, when the host is good again
    record("host", f"{name}, {host}", 1, came(code))


@pytest.mark.parametrize("left_kib", [0, 32])
@pytest.mark.parametrize("name", TRIED)
def test_a_full_disk(name: str, left_kib: int, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    """Of the output; and when there is room again the same command goes on."""
    with small_disk(tmp_path / "disk", 64) as disk:
        made = prepare(name, disk / "made", tiny, warm)
        before = made.state(made.output)
        ballast = fill_up(disk)
        os.truncate(ballast, ballast.stat().st_size - left_kib * 1024)
        code, said, quiet_s = told(jpo_words(made.words), operator())
        check(code, said, quiet_s, may_fail=True)
        assert code == 0 or re.search("no room (left|for a commit) on the disk of", said), said[-2000:]
        assert made.state(made.output) == before or code == 0, said[-2000:]
        ballast.unlink()
        warm(*made.words).check()
        assert made.state(made.output) is not None
    record("full-disk", f"{name}, {left_kib} KiB left", 1, came(code))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("name", TRIED)
def test_names_of_folders(kind: str, name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    made = prepare(name, tmp_path / NAMES[kind], tiny, warm)
    done = warm(*made.words)
    check(done.code, done.out + done.err, 0.0, may_fail=kind == "newline")
    assert made.state(made.output) is not None or done.code != 0
    record("names", f"{name}, {kind}", 1, came(done.code))


@pytest.mark.parametrize("name", [name for name in TRIED if name not in ("build", *SLOW)])
def test_a_tracking_server_that_accepts_and_never_answers(name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    made = prepare(name, tmp_path / "made", tiny, warm)
    with raw_server(silent) as server:
        words = tuple(f"tracking.uri={server.url}" if word == "tracking.uri=none" else word for word in made.words)
        code, said, quiet_s = told(jpo_words(words), operator())
    check(code, said, quiet_s, may_fail=False)
    assert made.state(made.output) is not None
