"""What an environment can bring: each variable ends in a setting that works, or in one sentence that names it."""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher import environment
from launcher.environment import LONGEST_TMP, prepare, start_logging
from launcher.ray_job import ABOUT
from tests.support.commands import ROOT

NOWHERE = "/proc/1/nothing-can-be-made-here"


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = tempfile.tempdir
    yield
    tempfile.tempdir = before


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def prepared(home: Path | str, **given: str) -> dict[str, str]:
    """What becomes of an environment, without what every one gets."""
    environ = {"HOME": str(home), "LOGNAME": "ann", **given}
    prepare(environ)
    return {
        key: value
        for key, value in environ.items()
        if key not in ("HF_HUB_DISABLE_TELEMETRY", "TOKENIZERS_PARALLELISM")
    }


def test_an_environment_without_fault_is_left_alone(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = {"OMP_NUM_THREADS": "4", "RAY_ADDRESS": "auto", "CUDA_VISIBLE_DEVICES": "", "HF_HOME": "/shared/hf"}
    assert prepared(home, **given) == {"HOME": str(home), "LOGNAME": "ann", **given}
    assert caplog.text == ""


# ---- refused


REFUSED = [
    ({"OMP_NUM_THREADS": "many"}, "OMP_NUM_THREADS (many) must be a whole number"),
    ({"OMP_NUM_THREADS": "0"}, "OMP_NUM_THREADS (0) must be"),
    ({"OMP_NUM_THREADS": "-1"}, "OMP_NUM_THREADS (-1) must be"),
    ({"HTTPS_PROXY": "socks7://a:1"}, "HTTPS_PROXY is no address of a proxy"),
    ({"RANK": "0", "WORLD_SIZE": "4"}, "MASTER_ADDR and MASTER_PORT is missing; start with torchrun, or unset RANK"),
    ({"RANK": "x", "WORLD_SIZE": "4"}, "RANK (x) must be a whole number"),
    ({"RANK": "0", "WORLD_SIZE": "-3"}, "WORLD_SIZE (-3) must be a whole number"),
    ({"RANK": "4", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK (4) must be below WORLD_SIZE (4)"),
    ({"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "p"}, "MASTER_PORT (p) must be a port"),
    ({"RAY_AUTH_MODE": "none"}, "RAY_AUTH_MODE (none) must be token or disabled"),
    ({"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "soon"}, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S (soon) must be seconds"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "said"), REFUSED, ids=[str(given) for given, _ in REFUSED])
def test_what_cannot_be_used_is_one_sentence_with_the_variable(home: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        prepared(home, **given)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("level", ["nonsense", "LOUD", "1.5", "-3"])
def test_a_level_that_there_is_not_is_refused(level: str) -> None:
    with pytest.raises(ValueError, match=rf"^JPO_LOG \({level}\) must be DEBUG, INFO, WARNING, ERROR or a number"):
        start_logging({"JPO_LOG": level})


@pytest.mark.parametrize(("level", "number"), [("debug", 10), ("Warning", 30), ("15", 15), ("", 20), (" info ", 20)])
def test_a_level_by_any_of_its_names(level: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: found.append(settings["level"]))
    start_logging({"JPO_LOG": level})
    assert found == [number]


def test_a_working_folder_that_is_gone_is_said(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ValueError, match="the folder that this command runs in is gone"):
        prepared(home)


# ---- left over from other launchers


@pytest.mark.parametrize(
    "left",
    [
        {"RANK": "3"},
        {"WORLD_SIZE": "8", "LOCAL_RANK": "1"},
        {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "10.0.0.9", "MASTER_PORT": "1"},
    ],
)
def test_a_place_that_is_left_over_is_dropped_and_said(
    home: Path, left: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    environ = prepared(home, **left)
    assert not environ.keys() & {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
    assert "left over from another launcher, not read" in caplog.text


def test_a_place_among_ranks_is_kept(home: Path) -> None:
    place = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "head", "MASTER_PORT": "29500"}
    assert place.items() <= prepared(home, **place).items()
    alone = {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "a", "MASTER_ADDR": "h", "MASTER_PORT": "2"}
    assert alone.items() <= prepared(home, **alone).items()


def test_of_a_list_of_threads_the_first_level_counts(home: Path) -> None:
    assert prepared(home, OMP_NUM_THREADS="4,2,1")["OMP_NUM_THREADS"] == "4"
    assert "OMP_NUM_THREADS" not in prepared(home, OMP_NUM_THREADS="")


@pytest.mark.parametrize(
    ("job", "stays"),
    [
        (None, True),
        ({"metadata": {"job_submission_id": "j"}}, False),
        ({"runtime_env": {"env_vars": None}}, False),
        ({"runtime_env": {"env_vars": {"NCCL_DEBUG": "INFO"}}}, False),
        ({"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}}}, True),
    ],
)
def test_the_threads_that_ray_gives_a_jobs_driver_are_no_wish_of_the_person(
    job: dict[str, Any] | None, stays: bool, home: Path
) -> None:
    """Ray writes OMP_NUM_THREADS=1 for the process that starts the driver: every worker of every job once computed with
    one thread."""
    about = {ABOUT: json.dumps(job)} if job else {}
    assert ("OMP_NUM_THREADS" in prepared(home, OMP_NUM_THREADS="1", **about)) is stays


# ---- temporary folders


def long_folder(tmp_path: Path, size: int = 120) -> Path:
    folder = tmp_path / ("t" * (size - len(str(tmp_path)) - 1))
    folder.mkdir()
    assert len(str(folder)) == size
    return folder


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_temporary_folder_leaves_sockets_no_room(
    name: str, tmp_path: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The name that Ray gives to its longest socket must fit into the 107 bytes of the system."""
    longest = "/ray/session_2026-11-29_10-00-00_123456_4194304/sockets/plasma_store"
    assert LONGEST_TMP + len(longest) <= 107
    folder = long_folder(tmp_path)
    environ = prepared(home, **{name: str(folder)})
    assert environ[name] == "/tmp"
    assert f"{name} ({folder}) is 120 bytes long, and sockets have room for {LONGEST_TMP}: /tmp is used" in caplog.text


@pytest.mark.parametrize(
    ("folder", "wrong"),
    [
        ("/nowhere/at/all", "is no folder"),
        ("", "is no folder"),
        ("/proc/1", "cannot be written to"),
        ("/etc/passwd", "is no folder"),
    ],
)
def test_a_temporary_folder_that_cannot_be_used_is_replaced(
    folder: str, wrong: str, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert prepared(home, TMPDIR=folder)["TMPDIR"] == "/tmp"
    assert f"TMPDIR ({folder}) {wrong}: /tmp is used" in caplog.text


def test_a_short_folder_of_odd_characters_is_replaced_and_a_plain_one_kept(home: Path) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="q? x") as odd,
        tempfile.TemporaryDirectory(dir="/tmp") as plain,
    ):
        assert prepared(home, TMPDIR=odd)["TMPDIR"] == "/tmp"
        assert prepared(home, TMPDIR=plain)["TMPDIR"] == plain
        here = Path(plain).parent
        os.chdir(here)
        assert prepared(home, TMPDIR=Path(plain).name)["TMPDIR"] == plain, "Ray wants it absolute"
        os.chdir(ROOT)


def test_no_temporary_folder_at_all_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "INSTEAD", ("/proc/1", "/nowhere"))
    with pytest.raises(
        ValueError, match=r"^TMPDIR \(/gone\) is no folder, and neither can /proc/1, /nowhere be used; set"
    ):
        prepared(home, TMPDIR="/gone")


# ---- homes


def test_a_home_that_cannot_be_written_to_keeps_its_files_and_moves_its_caches(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Credentials are in it. A cache of models that is there is read, not left behind."""
    monkeypatch.setattr(environment, "own_folder", lambda: tmp_path / "own")
    environ = prepared("/proc/1")
    assert environ["HOME"] == "/proc/1"
    own = str(tmp_path / "own")
    assert {environ[name].startswith(own) for name in ("XDG_CACHE_HOME", "HF_HOME", "TRITON_HOME", "MPLCONFIGDIR")} == {
        True
    }
    assert "HOME (/proc/1) cannot be written to: caches are in" in caplog.text
    monkeypatch.setattr(environment, "_can_be_made", lambda folder: False)
    (home / ".cache" / "huggingface").mkdir(parents=True)
    assert "HF_HOME" not in prepared(home)
    set_ones = {"XDG_CACHE_HOME": "/a", "HF_HOME": "/b", "TRITON_HOME": "/c", "MPLCONFIGDIR": "/d"}
    assert set_ones.items() <= prepared(home, **set_ones).items(), "what is set stays"


@pytest.mark.parametrize("given", [NOWHERE, "relative", "/etc/passwd"])
def test_a_home_that_is_no_folder_is_replaced(given: str, caplog: pytest.LogCaptureFixture) -> None:
    found = Path(prepared(given)["HOME"])
    assert found.stat().st_mode & 0o077 == 0
    assert f"HOME ({given}) is no folder: {found} is used" in caplog.text


NAMELESS = """
import getpass, os
from jpo_dist.paths import cache_folder
from launcher.environment import prepare
os.setgroups([]), os.setgid(54321), os.setuid(54321)
prepare(os.environ)
print(os.environ["HOME"], getpass.getuser())
print(cache_folder("models"))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="root can become another user")
def test_a_user_without_name_and_home_has_both() -> None:
    """As a container that runs as any user: HOME is not set, and the system has no entry for the user id."""
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:
        os.chmod(shared, 0o777)
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TMPDIR": shared}
        done = subprocess.run([sys.executable, "-c", NAMELESS], env=env, capture_output=True, text=True, cwd="/")
        assert done.returncode == 0, done.stderr
        (home, user), (cache,) = (line.split() for line in done.stdout.splitlines())
        assert user == "uid54321"
        assert home == f"{shared}/jpo-54321"
        assert cache == f"{home}/.cache/jpo-dist/models"


def test_a_cache_folder_that_can_only_be_read_is_kept_for_reading_and_what_is_made_goes_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may hold the models; DeepSpeed's operator is compiled in it, too, and that ended in advice on compilers."""
    monkeypatch.setattr(environment, "own_folder", lambda: tmp_path / "own")
    environ = prepared(home, XDG_CACHE_HOME=NOWHERE)
    assert environ["XDG_CACHE_HOME"] == NOWHERE
    assert environ["TORCH_EXTENSIONS_DIR"] == str(tmp_path / "own" / "torch_extensions")
    assert environ["JPO_CACHE"] == str(tmp_path / "own" / "jpo-dist")
    assert f"XDG_CACHE_HOME ({NOWHERE}) cannot be written to: " in caplog.text
    given = {"JPO_CACHE": str(tmp_path), "TORCH_EXTENSIONS_DIR": str(tmp_path)}
    assert given.items() <= prepared(home, XDG_CACHE_HOME=NOWHERE, **given).items(), "what is set stays"
    assert "TORCH_EXTENSIONS_DIR" not in prepared(home, XDG_CACHE_HOME=str(tmp_path / "new"))


def test_an_empty_variable_of_a_library_counts_as_not_set(home: Path) -> None:
    """torch ends in a traceback of an empty TORCH_LOGS. Hidden GPUs stay hidden."""
    empty = {"TORCH_LOGS": "", "DS_ACCELERATOR": " ", "HF_HUB_DOWNLOAD_TIMEOUT": ""}
    assert not empty.keys() & prepared(home, **empty).keys()
    kept = {"CUDA_VISIBLE_DEVICES": "", "NO_PROXY": "", "TORCH_LOGS": "+dynamo"}
    assert kept.items() <= prepared(home, **kept).items()


def test_relative_caches_become_absolute_and_an_old_name_is_read(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    environ = prepared(home, JPO_CACHE="mine", HF_HOME="", TRANSFORMERS_CACHE="~/old")
    assert environ["JPO_CACHE"] == str(Path("mine").absolute())
    assert "HF_HOME" not in environ
    assert environ["HF_HUB_CACHE"] == os.path.expanduser("~/old")
    assert "TRANSFORMERS_CACHE (~/old) is a name of the past: read as HF_HUB_CACHE" in caplog.text
    assert "HF_HUB_CACHE" not in prepared(home, TRANSFORMERS_CACHE="/old", HF_HOME="/new")


# ---- streams and text, in processes of their own


def told(script: str, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT), **env}, capture_output=True
    )


def test_closed_streams_lead_nowhere_and_not_into_a_file_of_the_run(tmp_path: Path) -> None:
    """Without this the first file that is opened is number 1, and what a library prints lands in it."""
    code = (
        "from launcher.environment import open_streams; open_streams(); import os, sys; "
        f"file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2, file.fileno(); "
        "os.system('echo printed'); print('said'); print('said', file=sys.stderr); file.write('kept'); file.close()"
    )
    done = told(f'{sys.executable} -c "{code}" <&- >&- 2>&-', {})
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "kept"


@pytest.mark.slow
@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_text_of_any_language_is_printed_where_ascii_alone_can_be(env: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "höhe.yaml"
    config.write_text("model: {path: m}\ndata: {train: 'é…'}\nrun: {dir: /ü}\n", encoding="utf-8")
    done = told(f"{sys.executable} -m launcher check {config}", env)
    assert done.returncode == 0, done.stderr
    said = done.stdout.decode()
    assert "\\xe9\\u2026" in said if "PYTHONIOENCODING" in env else "é…" in said
