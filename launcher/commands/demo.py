"""`jpo demo`."""

import logging
import os
import time
from pathlib import Path

from launcher.arguments import Overrides, read_config
from launcher.console import explained, out

CONFIG = Path("configs/demo.yaml")


def command(overrides: Overrides = None) -> None:
    """Align a real model on the sample data, and show answers before and after: seven minutes on two cores."""
    if "JPO_LOG" not in os.environ:
        logging.getLogger().setLevel(logging.WARNING)
    from launcher.show.board import at_work

    with explained(), at_work() as chatter:
        from jpo_dist.home import find_config
        from launcher.demo import demo

        fresh = f"run.dir=runs/demo-{time.strftime('%Y%m%d-%H%M%S')}"
        # The folder comes first, so that the command line can name another.
        demo(read_config(find_config(CONFIG), [fresh, *(overrides or [])]), out, chatter)
