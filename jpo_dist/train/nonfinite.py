"""The state after a step: steps whose loss or gradient is not finite are left out, and too many of them end the run."""

import logging
from dataclasses import replace

from jpo_dist.batches.plan import Step
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import StepOutcome
from jpo_dist.train.identity import TrainState

logger = logging.getLogger(__name__)


class NonFiniteError(RuntimeError):
    """Too many steps in a row had a loss or gradient that is not finite."""


def advance(state: TrainState, step: Step, outcome: StepOutcome, most: int) -> TrainState:
    """The state after `step`. Raises NonFiniteError after `most` steps in a row whose update was left out."""
    skipped = not outcome.applied
    in_a_row = state.nonfinite_in_a_row + 1 if skipped else 0
    if in_a_row >= most:
        raise NonFiniteError(
            f"loss or gradient not finite in {in_a_row} steps in a row, the last one step {step.index + 1} with "
            f"comparisons {step.comparisons_C.tolist()}; the weights are those of step {step.index + 1 - in_a_row}. "
            "Lower optim.lr, look at these comparisons, or raise train.max_nonfinite_steps"
        )
    if skipped and ranks.rank() == 0:
        logger.warning("step %d: not finite, update left out (%d in a row)", step.index + 1, in_a_row)
    return replace(
        state, step=step.index + 1, nonfinite_steps=state.nonfinite_steps + skipped, nonfinite_in_a_row=in_a_row
    )
