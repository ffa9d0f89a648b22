"""Settings of the loss, and which loss takes which of them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config.base import NonNegative, Positive, Section

ComparisonLoss = Literal["sigmoid", "ipo", "hinge", "robust", "davidson", "rao_kupper", "sigmoid_norm", "simpo"]
Loss = Literal[ComparisonLoss, "kto"]

TAKEN_BY: dict[str, tuple[Loss, ...]] = {
    "label_smoothing": ("sigmoid", "robust"),
    "gamma": ("simpo",),
    "tie_probability": ("davidson", "rao_kupper"),
    "desirable_weight": ("kto",),
    "undesirable_weight": ("kto",),
}
"""The losses that take a setting beside beta."""
TIE_LOSSES: tuple[Loss, ...] = TAKEN_BY["tie_probability"]
"""Losses that say how likely a tie is."""
PER_TOKEN: tuple[Loss, ...] = ("sigmoid_norm", "simpo")
"""Losses whose margin is a difference of means over tokens, not of sums; they need no reference."""


class ObjectiveConfig(Section):
    """The loss. Defaults are the paper's."""

    EXPERT = (
        "label_smoothing", "sft_weight", "gamma", "ties", "tie_probability", "similarity", "similarity_temperature",
        "similarity_embedding", "desirable_weight", "undesirable_weight",
    )  # fmt: skip

    beta: Positive = 0.1
    """Strength of the pull to the reference: the loss sees beta * margin."""
    instruction_weight: NonNegative = 1.0
    """Lambda: 1 scores instruction tokens too (JPO); 0 scores responses only (DPO on equal instructions)."""
    loss: Loss = "sigmoid"
    """sigmoid: the paper's. ipo: Azar et al., arXiv 2310.12036. hinge: SLiC, arXiv 2305.10425. robust: Chowdhury et
    al., arXiv 2403.00409. davidson, rao_kupper: with ties, Chen et al., arXiv 2409.17431. sigmoid_norm: means over
    tokens instead of sums, with or without a reference. simpo: the same less `gamma`, without, arXiv 2405.14734.
    kto: single items, each desirable or not (arXiv 2402.01306); there with instruction_weight=0."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Probability that a comparison's label is flipped. sigmoid: conservative DPO. robust: what the loss corrects."""
    gamma: NonNegative = 0.5
    """simpo: what beta * margin has to reach for a loss of ln 2."""
    ties: Literal["drop", "use"] = "drop"
    """drop: ties are left out and counted. use: trained on, by a loss that says how likely a tie is."""
    tie_probability: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """davidson, rao_kupper: how likely two equal items tie. 0.5 is nu = 1 (Davidson) and nu = 3 (Rao-Kupper)."""
    similarity: Literal["none", "inside", "outside"] = "none"
    """RPO, arXiv 2402.10958: tau = exp(-(1 - cosine of both instructions) / similarity_temperature). outside: tau
    weighs the loss, its mean over the set being 1. inside: tau weighs the margin, and beta * tau takes beta's place."""
    similarity_temperature: Positive = 0.5
    """The lower, the less do comparisons of unlike instructions count."""
    similarity_embedding: str = "tfidf"
    """What the cosine is measured on: tfidf, or the name of a sentence-transformers model."""
    sft_weight: NonNegative = 0.0
    """Weight of the mean negative log-likelihood of the winner's response tokens; ties have none. `loss` contains it,
    eval/loss does not: that is of the preferences alone."""
    desirable_weight: Positive = 1.0
    """KTO's weight of desirable items; with `undesirable_weight` it makes up for unequal numbers."""
    undesirable_weight: Positive = 1.0
    """KTO's weight of undesirable items."""

    @model_validator(mode="after")
    def _settings_are_taken(self) -> Self:
        for key, losses in TAKEN_BY.items():
            value, default = getattr(self, key), type(self).model_fields[key].default
            if value != default and self.loss not in losses:
                raise ValueError(
                    f"{key} ({value}) works with loss={' or '.join(losses)}, not {self.loss}; use {default:g}"
                )
        if self.sft_weight and self.loss == "kto":
            raise ValueError(f"sft_weight ({self.sft_weight}) is for losses of comparisons, not loss=kto; use 0")
        if self.similarity != "none" and self.loss == "kto":
            raise ValueError(f"similarity ({self.similarity}) is for losses of comparisons, not loss=kto; use none")
        if self.ties == "use" and self.loss not in TIE_LOSSES:
            raise ValueError(f"ties (use) needs loss={' or '.join(TIE_LOSSES)}, not {self.loss}; use drop")
        return self

    @model_validator(mode="after")
    def _similarity_is_used(self) -> Self:
        for key in ("similarity_temperature", "similarity_embedding"):
            value, default = getattr(self, key), type(self).model_fields[key].default
            if self.similarity == "none" and value != default:
                raise ValueError(
                    f"{key} ({value}) has no effect with similarity=none; use {default}, or set similarity"
                )
        if self.similarity == "inside" and self.loss != "sigmoid":
            raise ValueError(f"similarity (inside) works with loss=sigmoid, not {self.loss}; use outside")
        return self
