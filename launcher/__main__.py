"""`python -m launcher` is `jpo`."""

from launcher.cli import main

main()
