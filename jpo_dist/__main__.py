"""`python -m jpo_dist` is `jpo`, wherever it is installed."""

import importlib
import sys

from jpo_dist.home import at_home


def main() -> None:
    """Run the command. Ctrl-C during the imports ends it in the same words as all that comes after
    (launcher.console)."""
    try:
        at_home()
        importlib.import_module("launcher.cli").main()
    except KeyboardInterrupt:
        sys.stderr.write("error (exit 130): interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
