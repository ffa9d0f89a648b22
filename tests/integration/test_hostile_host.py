"""Each command that writes, on a host that is against it: it ends as elsewhere or in one sentence, never in silence."""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.attacks import record
from tests.support.commands import Files, Warm, operator
from tests.support.disk import fill_up, small_disk
from tests.support.raw_server import raw_server, silent
from tests.support.told import came, check, jpo_words, told
from tests.support.writing import COMMANDS, prepare

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900)]

DEAD = "http://127.0.0.1:9"
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


@pytest.mark.parametrize("name", COMMANDS)
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
@pytest.mark.parametrize("name", COMMANDS)
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
@pytest.mark.parametrize("name", COMMANDS)
def test_names_of_folders(kind: str, name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    made = prepare(name, tmp_path / NAMES[kind], tiny, warm)
    done = warm(*made.words)
    check(done.code, done.out + done.err, 0.0, may_fail=kind == "newline")
    assert made.state(made.output) is not None or done.code != 0
    record("names", f"{name}, {kind}", 1, came(done.code))


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("build", "register", *SLOW)])
def test_a_tracking_server_that_accepts_and_never_answers(name: str, tiny: Files, warm: Warm, tmp_path: Path) -> None:
    made = prepare(name, tmp_path / "made", tiny, warm)
    with raw_server(silent) as server:
        words = tuple(f"tracking.uri={server.url}" if word == "tracking.uri=none" else word for word in made.words)
        code, said, quiet_s = told(jpo_words(words), operator())
    check(code, said, quiet_s, may_fail=False)
    assert made.state(made.output) is not None
