"""When the files of a folder change, as seen from outside: where a command is in its work."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EVERY_S = 0.005


class Changes:
    """How often the files of a folder were found changed, and when first; many changes at once are one."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.began = folder, 0, time.monotonic()

    def look(self, before: object) -> object:
        """Count a change of what was there `before`, and return what is there."""
        now = _files(self.folder)
        if now != before:
            self.began = time.monotonic() if self.count == 0 else self.began
            self.count += 1
        return now

    def reached(self, nth: int) -> Callable[[], bool]:
        """Whether so many changes were found."""
        return lambda: self.count >= nth

    def worked_s(self) -> float:
        """The seconds since the first change."""
        return time.monotonic() - self.began


@contextmanager
def changes(folder: Path) -> Iterator[Changes]:
    """Inside, a thread looks at the files below `folder`."""
    seen, over, known = Changes(folder), threading.Event(), _files(folder)

    def watch(known: object) -> None:
        while not over.wait(EVERY_S):
            known = seen.look(known)

    thread = threading.Thread(target=watch, args=(known,), daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _files(folder: str | Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of all that is below, which may come and go meanwhile."""
    found, below = {}, [str(folder)]
    while below:
        try:
            with os.scandir(below.pop()) as entries:
                for entry in entries:
                    about = entry.stat(follow_symlinks=False)
                    found[entry.path] = (about.st_size, about.st_mtime_ns)
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.path)
        except FileNotFoundError:
            continue
    return found
