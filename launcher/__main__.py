"""`python -m launcher` is `jpo`."""

from jpo_dist.__main__ import main

if __name__ == "__main__":
    main()
