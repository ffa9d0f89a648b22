"""Settings of `jpo data build`: from sources to one set of comparisons with splits."""

from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from jpo_dist.config.addresses import OnDisk
from jpo_dist.config.base import ROW_MIB, Count, Fraction, Positive, Section, TemplateArgs
from jpo_dist.config.groups import GroupNames
from jpo_dist.config.sections import ModelConfig, TokensConfig, TrackingConfig
from jpo_dist.data.altered.config import FlipConfig, KeepConfig
from jpo_dist.data.layouts import COLUMNS
from jpo_dist.data.layouts.config import LayoutConfig
from jpo_dist.data.messages.instruction import NAMES
from jpo_dist.pairing.config import WITHIN, PairConfig

LayoutName = Literal[
    "auto",
    "paper",
    "judged-joint",
    "judged",
    "scored-pair",
    "explicit",
    "implicit",
    "thumbs",
    "answers",
    "rating",
    "responses",
    "unscored",
    "conversation",
    "rated-pair",
    "distilabel-orca",
    "alpaca-pair",
    "sharegpt-pair",
    "shp",
    "helpsteer2-preference",
    "helpsteer3",
    "helpsteer3-edit",
    "webgpt",
    "arena",
    "arena-kaggle",
    "arena-text",
    "comparia",
    "pku-saferlhf",
    "pku-saferlhf-safer",
    "tldr-comparisons",
    "stack-exchange-paired",
    "openai-preference",
    "chosen-lists",
    "ultrainteract",
    "search-arena",
    "arena-proxy",
    "alpaca-farm",
    "output-label",
    "judgebench",
    "unified-feedback",
    "pandalm",
    "judgelm",
    "auto-j",
    "multipref",
    "preference-dissection",
    "chosen-response",
    "response-chosen",
    "accepted",
    "chosen-reject",
    "pair-messages",
    "torchtune",
    "rejected-beside",
    "vertex",
    "paddle",
    "nova",
    "swift",
    "distilabel",
    "kto-alpaca",
    "alpaca-list",
    "tldr-axis",
    "nemo-rank",
    "nectar",
    "stack-exchange",
    "argilla-ranking",
    "argilla-rating",
    "argilla-generations",
    "lm-human-preferences",
    "community-alignment",
    "prism",
    "prism-utterances",
    "oasst",
    "oasst-trees",
    "kto-messages",
]
"""Those of `jpo_dist.data.layouts` that state something, and `auto`."""


def _branch(value: Any) -> str:
    """Which of the two a layout is, so that what is wrong with it is said of that one."""
    return "branch-layout" if isinstance(value, dict | LayoutConfig) else "branch-name"


class SourceConfig(Section):
    """Where preferences are and how to read them."""

    EXPERT = ("name", "max_row_mib")

    path: str | list[str]
    """Files, folders, globs, ComparisonSet folders or hub ids, as in data.train."""
    name: str | None = None
    """Stands for the file's name in `source`, and is the scale of its scores: sources that share a name share it."""
    layout: Annotated[
        Annotated[LayoutName, Tag("branch-name")] | Annotated[LayoutConfig, Tag("branch-layout")],
        Discriminator(_branch),
    ] = "auto"
    """auto: found by the columns."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Columns under other names: {prompt: question} reads the column `question` as `prompt`."""
    score: str | list[str] | None = None
    """Column, or key of each completion, that holds the score; of several the mean. None: the layout's own."""
    groups: GroupNames = Field(default=[])
    """Columns that say who judged (annotator, country, language), kept in each comparison of this source."""
    checker: str | None = None
    """`module:function` that is called with each Item of this source and returns its score, or None where it cannot
    tell; in place of scores that the source has."""
    max_row_mib: Count = ROW_MIB
    """As data.max_row_mib of a run: most MiB of one row, a longer one is bad."""
    weight: Positive | None = None
    """Share of this source in the mixture, relative to the other sources'; None (in all of them): take everything."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not self.path or (isinstance(self.path, list) and "" in self.path):
            raise ValueError(f"path ({self.path!r}): nothing is named; name a file, folder, glob or hub id")
        return self

    @model_validator(mode="after")
    def _own_layout_says_it_all(self) -> Self:
        for name in ("columns", "score"):
            if isinstance(self.layout, LayoutConfig) and getattr(self, name):
                raise ValueError(
                    f"{name} ({getattr(self, name)}): a layout of your own says where it is; leave {name} out"
                )
        return self

    @model_validator(mode="after")
    def _columns_of_layouts(self) -> Self:
        for name in self.columns:
            if name not in COLUMNS | NAMES:
                near = get_close_matches(name, sorted(COLUMNS), n=1)
                meant = f"did you mean {near[0]}? " if near else ""
                raise ValueError(
                    f"columns.{name}: no layout has such a column; {meant}known: {', '.join(sorted(COLUMNS))}"
                )
        return self

    @model_validator(mode="after")
    def _one_score_that_is_read(self) -> Self:
        if self.score is not None and "score" in self.columns:
            raise ValueError(f"score ({self.score}) and columns.score ({self.columns['score']}): leave one out")
        if self.score is not None and self.layout not in ("auto", "rating", "responses"):
            raise ValueError(f"score ({self.score}) is not read in layout {self.layout}; leave one of the two out")
        return self

    @property
    def named(self) -> list[tuple[str, str]]:
        """The columns that must be there, each with the key that names it."""
        columns = [(f"columns.{ours}", their) for ours, their in self.columns.items()]
        return columns + [("groups", column) for column in self.groups]

    @property
    def scale(self) -> str:
        """That of its scores."""
        return self.name or str(self.path)

    @property
    def scores(self) -> tuple[str, ...]:
        return () if self.score is None else (self.score,) if isinstance(self.score, str) else tuple(self.score)


class SplitConfig(Section):
    """Shares of the instructions, about; the rest is for training."""

    validation: Fraction = 0.05
    """Share of the instructions held out for validation."""
    test: Fraction = 0.05
    """Share of the instructions held out for the test."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The split of an instruction depends on its text up to the first user turn and this seed alone: the turns of a
    conversation stay together, and data that grows keeps its splits."""

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
    """How an item is written for the reference; the same values as data.template."""
    template_args: TemplateArgs = {}  # noqa: RUF012
    """As data.template_args."""
    on_template_difference: Literal["note", "follow"] = "note"
    """follow: the tokens that the chat template writes, as data.on_template_difference has it."""
    max_length: Count = 1024
    """Items with more tokens get no score, and `hard` leaves them out."""

    @property
    def tokens(self) -> TokensConfig:
        """How an item becomes tokens, none of them cut."""
        how = {"template_args": self.template_args, "on_template_difference": self.on_template_difference}
        return TokensConfig.model_validate({"template": self.template, **how})


class BuildConfig(Section):
    """Everything `jpo data build` needs."""

    sources: Annotated[list[SourceConfig], Field(min_length=1)]
    pairs: list[PairConfig] = Field(default_factory=lambda: [WITHIN])
    """How items with scores become comparisons; what sources state is always kept. []: nothing more."""
    candidates: PairConfig | None = None
    """Also write pairs without a verdict, for `jpo judge`, each with the split of its two items."""
    split: SplitConfig = SplitConfig()
    keep: KeepConfig = KeepConfig()
    flips: FlipConfig = FlipConfig()
    reference: ReferenceScoresConfig | None = None
    """Needed by the policy `hard`."""
    on_bad_row: Literal["error", "skip"] = "error"
    """A row that cannot be read: stop with file, line, field and reason, or count it and go on."""
    seed: Annotated[int, Field(ge=0)] = 0
    """What pairing and mixing are drawn from."""
    output: OnDisk
    """Folder of the set: items.parquet, comparisons.parquet, report.json (and candidates.jsonl)."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = "build"
    """Name of the MLflow run."""
    tracking: TrackingConfig = TrackingConfig()
    """Here uri=None means: no MLflow."""

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
