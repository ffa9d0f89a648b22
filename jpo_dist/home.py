"""Where the commands are: `launcher` and `cluster`, and the configs that come along.

In the repository they are folders beside this package. A wheel carries them in `jpo_dist/installed/`: names so common
are not put among other people's packages. `python -m jpo_dist.home cluster.leave 240` runs a module of theirs.
"""

import importlib
import runpy
import sys
from pathlib import Path

INSTALLED = "installed"
COMMANDS = ("cluster", "launcher")


def home() -> Path:
    """The folder that holds `launcher`, `cluster` and `configs`."""
    here = Path(__file__).resolve().parent
    return here / INSTALLED if (here / INSTALLED).is_dir() else here.parent


def at_home() -> None:
    """Import `launcher` and `cluster` from `home()`: a file `cluster.py` in the folder where somebody works does not
    take their place.

    A worker of Ray calls it first of all: later the folder of the driver stands before everything in its search path.
    """
    place = str(home())
    sys.path[:] = [place, *(folder for folder in sys.path if folder != place)]
    for name in COMMANDS:
        importlib.import_module(name)


def find_config(path: Path) -> Path:
    """`path`, or where there is no such file, the config of that name that comes along: configs/demo.yaml is found from
    any folder."""
    brought = home() / path
    ours = path.parts[:1] == ("configs",) and ".." not in path.parts
    return brought if ours and not path.exists() and brought.is_file() else path


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("name a module of launcher or cluster: python -m jpo_dist.home cluster.leave 240")
    at_home()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
