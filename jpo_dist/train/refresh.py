"""A reference that follows the policy (TR-DPO, Gorbatovski et al., arXiv 2404.09656): when, and what a commit keeps.

    reference <- alpha * policy + (1 - alpha) * reference       every reference.refresh_every steps

alpha (reference.refresh_share) = 1 is their hard update, below 1 their soft one.
"""

from pathlib import Path

from jpo_dist.model.blend import blend, load_whole, save_whole
from jpo_dist.objective.reference import Live
from jpo_dist.train.setup import Setup

FOLDER = "reference"
"""Where a commit has the reference's weights, whole: they are the same for any number of ranks."""


def refresh(setup: Setup, step: int) -> None:
    """Refresh the reference if that is due after `step` steps. All ranks call it.

    Held-out comparisons of the same step are scored before: against the reference that the step had.
    """
    reference = _following(setup)
    if reference and step % reference.settings.refresh_every == 0:
        blend(reference.module, setup.policy.module, reference.settings.refresh_share)


def save(setup: Setup, commit: Path) -> None:
    """Write the reference into the folder of a commit, if it follows the policy. All ranks call it."""
    reference = _following(setup)
    if reference:
        save_whole(reference.module, setup.policy.zero_stage, commit / FOLDER)


def load(setup: Setup, commit: Path) -> None:
    """Put the reference back to where the commit in this folder left it, if it follows. All ranks call it."""
    reference = _following(setup)
    if reference:
        load_whole(reference.module, setup.policy.zero_stage, commit / FOLDER)


def _following(setup: Setup) -> Live | None:
    """The reference, where it follows the policy."""
    reference = setup.reference
    return reference if isinstance(reference, Live) and reference.settings.refresh_every else None
