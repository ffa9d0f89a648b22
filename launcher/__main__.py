"""`python -m launcher` is `jpo`."""

import sys


def main() -> None:
    """Run the command. Ctrl-C during the imports ends it in the same words as all that comes after
    (launcher.console)."""
    try:
        from launcher.cli import main as begin

        begin()
    except KeyboardInterrupt:
        sys.stderr.write("error (exit 130): interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
