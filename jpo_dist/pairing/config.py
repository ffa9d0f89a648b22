"""Settings of pairing: which two items make a comparison, and how many of them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config.base import Count, NonNegative, Section

Policy = Literal["conditional", "random", "similar", "dissimilar", "bucketed", "hard", "balanced", "assumed_wins"]
Among = Literal["random", "similar", "dissimilar", "bucketed", "balanced"]


class PairConfig(Section):
    """How items are paired. Two items meet only when they are of one split and their scores of one scale."""

    policy: Policy = "balanced"
    """conditional: within one instruction, all pairs that the limits below allow. The others are joint, between two
    different instructions. random: any two items. similar: instructions that are near in the embedding, nearest
    first. dissimilar: the farthest of `neighbours` random ones. bucketed: random within buckets of like instructions.
    hard: the reference gives both items nearly the same log-probability, smallest difference first. balanced: the
    instruction alone predicts nothing, see jpo_dist.pairing.balanced. assumed_wins: every winner is taken to beat every
    loser of another instruction; an assumption, for rankings and conditional wins, whose scores do not compare."""
    among: Among = "random"
    """How `assumed_wins` picks its pairs. The other policies do not read it."""
    budget: Count | None = None
    """Most comparisons. None: as many as the other limits allow."""
    min_score_gap: NonNegative = 0.0
    """Scores that differ by no more than this are a tie."""
    keep_ties: bool = False
    """Pick pairs without a look at their scores and keep the ties among them, marked; not with `balanced`."""
    max_per_item: Count = 4
    """Most comparisons that an item stands in."""
    max_imbalance: Count | None = None
    """Most |wins - losses| of an item that has items it could beat and items that could beat it, under this policy's
    rule for instructions. An item with only one of the two cannot be balanced and is held to max_per_item alone.
    None: no such limit. Partners far apart in score then run out early: past the middle, each pair would put one item
    over the limit."""
    neighbours: Count = 16
    """similar: how many nearest instructions an item may be paired with. dissimilar: of how many random items the
    farthest is taken. hard: how many candidates above and below in score, each way in the reference's order."""
    buckets: Literal["topic", "length"] = "topic"
    """bucketed: clusters of the embedding (also for `balanced`), or equally full bands of instruction length."""
    num_buckets: Count = 32
    """Most buckets; small pools get fewer, about 20 instructions in each."""
    embedding: Annotated[str, Field(min_length=1)] = "tfidf"
    """tfidf, or a sentence-transformers folder or hub id, or `package:MODULE/FOLDER` inside an installed package."""

    @model_validator(mode="after")
    def _ties_have_no_sides(self) -> Self:
        picks = self.among if self.policy == "assumed_wins" else self.policy
        if self.keep_ties and picks == "balanced":
            raise ValueError(
                "keep_ties (true) has no meaning with balanced, which pairs winners with losers; use false"
            )
        if self.keep_ties and self.policy == "assumed_wins":
            raise ValueError("keep_ties (true) would assume ties, not wins, with policy=assumed_wins; use false")
        return self


WITHIN = PairConfig(policy="conditional", keep_ties=True, max_per_item=32)
"""What scores say without being asked: every pair within an instruction, equal scores as ties."""
