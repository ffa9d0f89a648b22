"""A full disk, said in one sentence: where, how much room there is, and what to do. Commits have their own
(jpo_dist/checkpoint/run_folder.py)."""

import errno
import os
import re
import resource
import shutil
import tempfile
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TOO_LARGE = re.compile(r"File too large|os error 27\b")
_SAID = re.compile(r"No space left on device|Disk quota exceeded|os error (28|122)\b|database or disk is full")
"""What libraries make of it that keep no error number."""


def no_room(error: BaseException) -> str | None:
    """The sentence, where `error` or what it came from is a full disk, a used up quota or a limit of the size of files;
    None: it is none of them."""
    cause: BaseException | None = error
    while cause is not None:
        if (isinstance(cause, OSError) and cause.errno == errno.EFBIG) or _TOO_LARGE.search(str(cause)):
            most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            limit = f"{most:,} bytes (ulimit -f)" if most != resource.RLIM_INFINITY else "what its disk allows"
            file = cause.filename if isinstance(cause, OSError) and cause.filename else "a file of the output"
            return f"{file} would be larger than {limit}; raise that limit, or name another place"
        if (isinstance(cause, OSError) and cause.errno in _FULL) or _SAID.search(str(cause)):
            named = cause.filename if isinstance(cause, OSError) else None
            what = "the quota is used up" if "uota" in str(cause) else "no room left"
            place = os.fsdecode(named) if isinstance(named, str | bytes) else None
            return f"{what} on the disk of {_place(place)}; free space, or name another place"
        cause = cause.__cause__ or cause.__context__
    return None


def _place(named: str | None) -> str:
    """The path with its room; without one the folders that commands write to unasked."""
    if named is not None:
        return f"{named} ({_room(Path(named))})"
    return f"TMPDIR ({tempfile.gettempdir()}: {_room(Path(tempfile.gettempdir()))}) or of the output"


def _room(path: Path) -> str:
    there = next((place for place in (path, *path.absolute().parents) if place.exists()), Path("/"))
    try:
        found = shutil.disk_usage(there)
    except OSError:
        return "its room is not told"
    return f"{found.free / 2**20:.1f} of {found.total / 2**20:.1f} MiB free"
