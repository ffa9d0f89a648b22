"""A pickle that does something when it is loaded, as one from a stranger may."""

from pathlib import Path
from typing import Any


class Malicious:
    """Unpickled, it makes the file `mark`."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)
