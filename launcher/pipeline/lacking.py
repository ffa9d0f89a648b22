"""Stages of which requests to a server got no answer: they have ended well, and are not done for that."""

import math

from jpo_dist.endpoint.left import NOTHING, Left
from jpo_dist.files import read_json
from jpo_dist.records.folder import REPORT
from jpo_dist.run_dir import RUN
from launcher.console import say
from launcher.pipeline.process import note_done
from launcher.pipeline.resolve import Stage

_KEPT_IN = {"generate": REPORT, "judge": RUN, "winrate": RUN}
"""The file that says what is left, by the last word of the commands that ask servers."""


def left_of(stage: Stage) -> Left:
    """What the last run of the stage's command that came to its end has left."""
    kept_in = _KEPT_IN.get(stage.kind.command[-1])
    return Left.read(read_json(stage.folder / kept_in).get("left")) if kept_in else NOTHING


def accept(stage: Stage, max_failed: float) -> bool:
    """Note the stage as done where an earlier start has left something, and no more than may be; whether it was noted.

    Asked again alone, requests that fail every time would end their command by endpoint.max_failures.
    """
    left = left_of(stage)
    if not 0 < left.share <= max_failed:
        return False
    say(f"{stage.name}: {left}, no more than max_failed={max_failed:g}: done without them")
    note_done(stage, 0.0)
    return True


def way_out(left: Left) -> str:
    """What somebody can do where more is left than may be."""
    enough = math.ceil(100 * left.share) / 100
    return (
        f"{left}, also when they were asked once more. The same command asks them again; with max_failed={enough:g} it "
        "goes on without them"
    )
