"""The environment that a command starts in: made fit to work in where it can be, refused in one sentence else."""

import codecs
import locale
import logging
import os
import pwd
import re
import stat
import sys
import tempfile
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from jpo_dist.proxies import keep_near_direct, refuse_wrong
from jpo_dist.redact import visible
from launcher.blamed import OF_LIBRARIES
from launcher.console import err
from launcher.places import refuse_odd_place
from launcher.ray_job import threads_are_rays

log = logging.getLogger(__name__)

Environ = MutableMapping[str, str]

LONGEST_TMP = 38
"""Bytes of a temporary folder. Below it Ray puts 68 more (`/ray/session_<date>_<pid>/sockets/plasma_store`), and the
system takes 107 for the name of a socket."""
INSTEAD = ("/tmp", "/var/tmp", "/dev/shm")
"""Short temporary folders, in the order in which they are tried."""
OURS = ("jpo_dist", "launcher", "cluster")
"""Whose logs are shown from INFO on; those of libraries from WARNING on."""
DEFAULTS = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Variables that every command sets where a person has not."""
_PLAIN = re.compile(r"[\w@%+=:,./~-]+", re.ASCII)
"""Names that every program can use: Ray takes a folder for a pattern, and a socket's name is bytes."""
_THREADS = re.compile(r"[1-9]\d*(,[1-9]\d*)*")


def begin_in_utf8() -> None:
    """Start this process anew with Python's UTF-8 mode where the locale has another encoding (LC_ALL=C and the like).

    Names of files and settings are text of any language. Processes that are started from here inherit the mode.
    """
    if codecs.lookup(locale.getpreferredencoding(False)).name == "utf-8" and sys.getfilesystemencoding() == "utf-8":
        return
    if os.environ.get("PYTHONUTF8") != "1" and not sys.flags.ignore_environment:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def open_streams() -> None:
    """Give a process that was started with standard input, output or error closed a place for each: nowhere.

    Else the next file that is opened gets the number, and what a library prints lands in a file of the run. A stream
    that can write ASCII alone (PYTHONIOENCODING=ascii) shows other characters as `\\xe9`.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            opened_again = open(number, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, opened_again)
    for stream in (sys.stdout, sys.stderr):
        encoding, reconfigure = getattr(stream, "encoding", None), getattr(stream, "reconfigure", None)
        if reconfigure is not None and codecs.lookup(encoding or "utf-8").name != "utf-8":
            reconfigure(errors="backslashreplace")
    asked = os.environ.get("PYTHONIOENCODING", "")
    if asked and ":" not in asked:
        os.environ["PYTHONIOENCODING"] = f"{asked}:backslashreplace"


class _Visible(logging.Formatter):
    """Lines in which text of others, such as a row's or a server's, cannot command the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _OnScreen(logging.Handler):
    """Writes to standard error by way of the console: above a bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            err.print(self.format(record), markup=False, highlight=False, soft_wrap=True)
        except Exception:
            self.handleError(record)


def start_logging(environ: Environ) -> None:
    """Send logs to standard error, from the level in JPO_LOG on. Raises ValueError where it names none."""
    asked = environ.get("JPO_LOG", "").strip().upper() or "INFO"
    level = int(asked) if asked.isdigit() else logging.getLevelNamesMapping().get(asked)
    if level is None:
        raise ValueError(f"JPO_LOG ({environ['JPO_LOG']}) must be DEBUG, INFO, WARNING, ERROR or a number; or unset it")
    shown = _OnScreen()
    shown.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith(OURS) or level < 20)
    shown.setFormatter(_Visible("%(levelname).1s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[shown])
    for noisy in ("httpx", "httpx2", "urllib3", "alembic", "filelock", "datasets", "fsspec", "faiss"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def prepare(environ: Environ) -> None:
    """Make what the environment brings fit to work in; what is changed is logged as a warning.

    Raises ValueError, with the variable and its value, for what can be neither used nor replaced.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ValueError("the folder that this command runs in is gone; cd to one that is there") from None
    for name in [one for one, value in environ.items() if OF_LIBRARIES.fullmatch(one) and not value.strip()]:
        del environ[name]  # to most of them it is as if not set; some end in a traceback
    refuse_wrong(environ)
    keep_near_direct(environ)
    refuse_odd_place(environ)
    _count_threads(environ)
    _name_the_user(environ)
    _choose_temporary_folder(environ)
    _choose_home(environ)
    _choose_caches(environ)
    _leave_read_only_caches(environ)
    for name, value in DEFAULTS.items():
        environ.setdefault(name, value)


def _count_threads(environ: Environ) -> None:
    """OMP_NUM_THREADS as one number: OpenMP takes a list too, one for each level, and ignores what is neither."""
    asked = environ.get("OMP_NUM_THREADS")
    if asked is None:
        return
    # Ray's own number would be that of all workers of the job.
    if not asked.strip() or threads_are_rays(environ):
        del environ["OMP_NUM_THREADS"]
        return
    if not _THREADS.fullmatch(asked.replace(" ", "")):
        raise ValueError(f"OMP_NUM_THREADS ({asked}) must be a whole number, 1 or more; or unset it")
    environ["OMP_NUM_THREADS"] = asked.partition(",")[0].strip()


def _name_the_user(environ: Environ) -> None:
    """A name for a user id that the system has none for, as in a container that runs as any user."""
    if not any(environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")) and _entry() is None:
        environ["LOGNAME"] = environ["USER"] = f"uid{os.getuid()}"


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:
        return None


# ---- folders


def _choose_temporary_folder(environ: Environ) -> None:
    """TMPDIR and RAY_TMPDIR as folders that can be written to and leave sockets room for their names."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        given = environ.get(name)
        wrong = _wrong_with_temporary(given) if given is not None else None
        if given is not None and wrong is None:
            environ[name] = os.path.abspath(given)
        if wrong is not None:
            environ[name] = _short_folder(f"{name} ({given}) {wrong}")
            log.warning("%s (%s) %s: %s is used", name, given, wrong, environ[name])
    if "TMPDIR" not in environ and _wrong_with_temporary(INSTEAD[0]) is not None:
        environ["TMPDIR"] = _short_folder(f"{INSTEAD[0]} {_wrong_with_temporary(INSTEAD[0])}")
        log.warning("%s cannot be written to: %s is used for temporary files", INSTEAD[0], environ["TMPDIR"])
    tempfile.tempdir = None  # what was found before is forgotten


def _wrong_with_temporary(given: str) -> str | None:
    folder = os.path.abspath(given)
    if not given or not os.path.isdir(folder):
        return "is no folder"
    if not _is_writable(folder):
        return "cannot be written to"
    if len(os.fsencode(folder)) > LONGEST_TMP:
        return f"is {len(os.fsencode(folder))} bytes long, and sockets have room for {LONGEST_TMP}"
    if not _PLAIN.fullmatch(folder):
        return "has characters that Ray or a socket cannot have in a name"
    return None


def _short_folder(why: str) -> str:
    for folder in INSTEAD:
        if _wrong_with_temporary(folder) is None:
            return folder
    raise ValueError(
        f"{why}, and neither can {', '.join(INSTEAD)} be used; set TMPDIR to a folder of at most {LONGEST_TMP} bytes "
        "that you may write to"
    )


def _is_writable(folder: str) -> bool:
    """Whether a file can be made there: root may write by its rights alone, but not to a read-only disk."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _choose_home(environ: Environ) -> None:
    """HOME as a folder that is there. Libraries that find none make one named `~` in the working folder."""
    given = environ.get("HOME", "")
    if os.path.isabs(given) and os.path.isdir(given):
        return
    entry = _entry()
    if entry is not None and os.path.isdir(entry.pw_dir) and not given:
        environ["HOME"] = entry.pw_dir
        return
    environ["HOME"] = str(own_folder())
    log.warning("HOME (%s) is no folder: %s is used", given or "not set", environ["HOME"])


def _choose_caches(environ: Environ) -> None:
    """Caches of libraries in a folder that can be written to, where HOME cannot. Variables that are set stay."""
    home = Path(environ["HOME"])
    for name in ("JPO_CACHE", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TORCH_EXTENSIONS_DIR"):
        if environ.get(name) and not environ[name].startswith("~"):
            environ[name] = os.path.abspath(environ[name])  # a worker may start in another folder
        elif environ.get(name) == "":
            del environ[name]
    old = environ.get("TRANSFORMERS_CACHE")
    if old and not environ.keys() & {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"}:
        environ["HF_HUB_CACHE"] = os.path.abspath(os.path.expanduser(old))
        log.warning("TRANSFORMERS_CACHE (%s) is a name of the past: read as HF_HUB_CACHE", old)
    wanted = {
        "XDG_CACHE_HOME": (home / ".cache", ""),
        "HF_HOME": (home / ".cache" / "huggingface", "huggingface"),
        "TRITON_HOME": (home, ""),
        "MPLCONFIGDIR": (home / ".config", "matplotlib"),
    }
    # A cache that is there and cannot be written to is read: it may hold the models.
    moved = {
        name: below
        for name, (usual, below) in wanted.items()
        if name not in environ and not _can_be_made(usual) and not (name == "HF_HOME" and usual.is_dir())
    }
    if moved:
        folder = own_folder()
        environ.update({name: str(folder / below) for name, below in moved.items()})
        log.warning("HOME (%s) cannot be written to: caches are in %s (%s)", home, folder, ", ".join(moved))


def _leave_read_only_caches(environ: Environ) -> None:
    """A place of their own for what is made, where XDG_CACHE_HOME is set and can only be read, if at all."""
    given, below = environ.get("XDG_CACHE_HOME"), {"JPO_CACHE": "jpo-dist", "TORCH_EXTENSIONS_DIR": "torch_extensions"}
    if given is None or _can_be_made(Path(given)):
        return
    moved = {name: str(own_folder() / folder) for name, folder in below.items() if name not in environ}
    if moved:
        environ.update(moved)
        log.warning("XDG_CACHE_HOME (%s) cannot be written to: %s is used", given, ", ".join(moved.values()))


def _can_be_made(folder: Path) -> bool:
    """Whether `folder` can be written to, or made: asked of the first folder above it that is there."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return there.is_dir() and _is_writable(str(there))


def own_folder() -> Path:
    """A folder below the temporary one that this user alone can use, the same in every command."""
    folder = Path(tempfile.gettempdir()) / f"jpo-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        folder = Path(tempfile.mkdtemp(prefix="jpo-"))  # somebody else has taken the name
    return folder
