"""Settings of `jpo data build`: from sources to one set of comparisons with splits."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jpo_dist.config import Count, Fraction, ModelConfig, Section
from jpo_dist.pairing.config import WITHIN, PairConfig
from jpo_dist.source_config import SourceConfig


class SplitConfig(Section):
    """Shares of the instructions; the rest is for training."""

    validation: Fraction = 0.05
    test: Fraction = 0.05
    seed: Annotated[int, Field(ge=0)] = 0
    """The split of an instruction depends on its text and this seed alone: data that grows keeps its splits."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation ({self.validation}) and test ({self.test}) leave nothing to train on; lower one"
            )
        return self


class ReferenceScoresConfig(Section):
    """The model whose log-probs the pairing policy `hard` goes by."""

    model: ModelConfig
    template: str = "chat"
    """As in data.template."""
    max_length: Count = 1024
    """Items with more tokens get no score, and `hard` leaves them out."""


class BuildConfig(Section):
    """Everything `jpo data build` needs."""

    sources: Annotated[list[SourceConfig], Field(min_length=1)]
    pairs: list[PairConfig] = Field(default_factory=lambda: [WITHIN])
    """How items with scores become comparisons; what sources state is always kept. []: nothing more."""
    candidates: PairConfig | None = None
    """Also write pairs without a verdict, for `jpo judge`."""
    split: SplitConfig = SplitConfig()
    reference: ReferenceScoresConfig | None = None
    """Needed by the policy `hard`."""
    on_bad_row: Literal["error", "skip"] = "error"
    seed: Annotated[int, Field(ge=0)] = 0
    output: str
    """Folder of the set: items.parquet, comparisons.parquet, report.json (and candidates.jsonl)."""

    @model_validator(mode="after")
    def _weights_for_all_or_none(self) -> Self:
        given = [source.weight is not None for source in self.sources]
        if any(given) and not all(given):
            raise ValueError("sources: a mixture needs a weight for every source, or for none; add the missing ones")
        return self

    @model_validator(mode="after")
    def _hard_needs_a_reference(self) -> Self:
        wanted = [p.policy for p in [*self.pairs, *([self.candidates] if self.candidates else [])]]
        if "hard" in wanted and self.reference is None:
            raise ValueError("pairs: policy hard needs the log-probs of a reference; set reference.model.path")
        return self
