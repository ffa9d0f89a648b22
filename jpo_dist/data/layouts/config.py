"""A layout that a user writes in YAML: where in a row everything stands, and which side a label means."""

import re
from collections import Counter
from dataclasses import replace
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from jpo_dist.config.base import NonNegative, Section
from jpo_dist.data.layouts.layout import Layout
from jpo_dist.data.layouts.pairs import Pair, pairs
from jpo_dist.data.layouts.responses import One, Several, Thumb, one, several
from jpo_dist.data.layouts.values import PLACE, Instruction, column_of
from jpo_dist.data.layouts.verdicts import FIRST, SECOND, Always, Better, Labels, Sign, Verdict

YOURS = "your own"
"""The name of such a layout, in reports."""
_PATH = re.compile(r"[^.{}]+(\.[^.{}]+)*")
_SHAPES = ("a", "b", "response", "responses", "conversation")
_BELONGS = {
    "instruction_a": ("a",), "instruction_b": ("a",), "prefer": ("a",), "weight": ("a",), "confidence": ("a",),
    "liked": ("response", "conversation"), "score": ("response", "responses", "conversation"),
    "text": ("responses",), "scores": ("responses",), "rank": ("responses",),
}  # fmt: skip
"""What says something of a row of one shape only, and of which."""


class PreferConfig(Section):
    """Which of the responses `a` and `b` is better: by values of a column, by its sign, or by a score of each.
    Just `a` or `b` where the columns themselves say it."""

    column: str | None = None
    """Where the value stands that says it."""
    a: list[Any] = Field(default_factory=list)
    """Values of it that mean: a is better."""
    b: list[Any] = Field(default_factory=list)
    """Values that mean: b is better."""
    tie: list[Any] = Field(default_factory=list)
    """Values that mean: neither is, also where both are bad."""
    negative: Literal["a", "b"] | None = None
    """In place of values: which is better where the number in `column` is below 0. 0 is a tie."""
    scores: list[str] | None = None
    """In place of a column: where the scores of a and of b stand. Equal ones are a tie."""
    better: Literal["higher", "lower"] = "higher"
    """Which of two scores is the better one."""
    tie_within: NonNegative = 0.0
    """Numbers that are no farther apart, or from 0, are a tie."""
    always: Literal["a", "b"] | None = None
    """In place of all this: the same side in every row, as in chosen and rejected."""

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        """`prefer: a`, and single values in place of lists."""
        if isinstance(value, str):
            return {"always": value}
        if not isinstance(value, dict):
            return value
        return {k: [v] if k in ("a", "b", "tie") and not isinstance(v, list) else v for k, v in value.items()}

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        given = [name for name in ("column", "scores", "always") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f" ({', '.join(given) or 'nothing'}) says it in {len(given)} ways; set one of column, "
                             "scores and always")  # fmt: skip
        values = self.a or self.b or self.tie
        if self.column is None and (values or self.negative):
            raise ValueError("column: not set, and a, b, tie and negative are about its values; set it")
        if self.column is not None and bool(self.negative) == bool(values):
            raise ValueError(f"column ({self.column}) needs values for a and b, or negative (a or b); set one of these")
        if values and not (self.a and self.b):
            raise ValueError(f"{'b' if self.a else 'a'}: no value of {self.column} means it; add those that do")
        twice = [value for value, n in Counter(map(repr, [*self.a, *self.b, *self.tie])).items() if n > 1]
        if twice:
            raise ValueError(f"column ({self.column}): {twice[0]} means two sides; leave it in one of a, b and tie")
        if self.scores is not None and len(self.scores) != 2:
            raise ValueError(f"scores ({self.scores}) are those of a and of b; name two")
        return self

    @property
    def verdict(self) -> Verdict:
        if self.always is not None:
            return Always(_side(self.always))
        if self.scores is not None:
            return Better(self.scores[0], self.scores[1], self.better == "higher", self.tie_within)
        assert self.column is not None
        if self.negative is not None:
            return Sign(self.column, _side(self.negative), self.tie_within)
        return Labels(self.column, tuple(self.a), tuple(self.b), tuple(self.tie))


def _side(name: str) -> int:
    return FIRST if name == "a" else SECOND


class LikedConfig(Section):
    """Whether a response is liked."""

    column: str
    """Where the value stands that says it."""
    up: list[Any] = Field(default_factory=list)
    """Values that mean: liked. Without any: true and 1. (`yes` and `no` would be true and false in YAML.)"""
    down: list[Any] = Field(default_factory=list)
    """Values that mean: not liked. Without any: false and 0."""

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if bool(self.up) != bool(self.down):
            raise ValueError(f"{'down' if self.up else 'up'}: no value of {self.column} means it; add those that do")
        return self


class LayoutConfig(Section):
    """The name of a layout (`jpo data layouts` lists them), `auto`, or a layout of your own: where in a row everything
    stands. Dots go into objects and lists: question.full_text, answers.0.text. One of a and b, response, responses and
    conversation says what a row is."""

    instruction: str | list[str] | None = None
    """Text or messages; of several the texts, a line break between them; or words with {path} in it. None, with a and
    b: each of them is a whole conversation."""
    instruction_a: str | None = None
    """Where a and b answer different instructions: that of a."""
    instruction_b: str | None = None
    """That of b."""
    system: str | None = None
    """A system prompt; null or empty where a row has none."""
    a: str | None = None
    """The first of two responses."""
    b: str | None = None
    """The second."""
    prefer: PreferConfig | None = None
    """Which of them is better. None: nobody has said so yet, a judge may."""
    response: str | None = None
    """The only response of a row."""
    responses: str | None = None
    """A list of responses."""
    text: str | None = None
    """Where in each of `responses` its text stands; None: each is a text."""
    conversation: str | None = None
    """A whole conversation, whose last turn is the response."""
    score: str | list[str] | None = None
    """The score of `response`, of `conversation`, or of each of `responses`; of several the mean."""
    scores: str | None = None
    """A list of scores beside `responses`."""
    rank: str | None = None
    """Where in each of `responses` its place stands, the lowest for the best. Without score, scores and rank their
    order is a ranking, best first."""
    better: Literal["higher", "lower"] = "higher"
    """Which of two scores is the better one."""
    liked: LikedConfig | None = None
    """Whether `response` or `conversation` is liked."""
    weight: str = "weight"
    """The weight of a comparison, where a row has one."""
    confidence: str = "confidence"
    """The confidence in it, where a row has one."""

    @field_validator("*", mode="after")
    @classmethod
    def _are_paths(cls, value: Any, info: Any) -> Any:
        for path in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            parts = PLACE.findall(path) if "{" in path and info.field_name == "instruction" else [path]
            if info.field_name != "better" and (not parts or not all(_PATH.fullmatch(part) for part in parts)):
                raise ValueError(f" ({path}) is no path into a row; write names with a dot between: question.full_text")
        return value

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        shapes = {"a" if name == "b" else name for name in _SHAPES if getattr(self, name) is not None}
        if len(shapes) != 1:
            given = ", ".join(sorted(shapes)) or "nothing"
            raise ValueError(
                f" ({given}) is not one kind of row; set a and b, or response, or responses, or conversation"
            )
        (shape,) = shapes
        for side, other in (("a", "b"), ("b", "a")):
            if shape == "a" and getattr(self, side) is None:
                raise ValueError(f"{side}: not set, and {other} ({getattr(self, other)}) is one of two; set both")
        for name, belongs in _BELONGS.items():
            if name in self.model_fields_set and getattr(self, name) is not None and shape not in belongs:
                fit = " or ".join(map(_named, belongs))
                raise ValueError(f"{name} says nothing of rows with {_named(shape)}; it goes with {fit}")
        return self

    @model_validator(mode="after")
    def _has_instruction(self) -> Self:
        both = [name for name in ("instruction_a", "instruction_b") if getattr(self, name) is not None]
        if len(both) == 1 or (both and self.instruction is not None):
            raise ValueError(f"{both[0]} ({getattr(self, both[0])}): set both of them, or instruction alone")
        if self.conversation is None and self.a is None and self.instruction is None:
            raise ValueError("instruction: not set; name what the response answers")
        whole = self.instruction is None and not both
        if self.conversation is not None and self.instruction is not None:
            raise ValueError(f"instruction ({self.instruction}): the conversation has it; leave it out")
        if whole and self.system is not None:
            raise ValueError(f"system ({self.system}): whole conversations have their own; leave it out")
        return self

    @model_validator(mode="after")
    def _said_in_one_way(self) -> Self:
        given = [name for name in ("score", "scores", "rank", "liked") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: {given[0]} says it already; leave one of the two out")
        return self

    @property
    def paths(self) -> dict[str, str]:
        """What must be in some row, by its key."""
        found = {name: getattr(self, name) for name in ("instruction_a", "instruction_b", *_SHAPES, "scores")}
        if isinstance(self.instruction, str) and "{" not in self.instruction:
            found["instruction"] = self.instruction
        if self.prefer is not None:
            found["prefer.column"] = self.prefer.column
            found |= {f"prefer.scores.{n}": path for n, path in enumerate(self.prefer.scores or [])}
        if self.liked is not None:
            found["liked.column"] = self.liked.column
        if self.responses is None:
            found |= {f"score.{n}" if n else "score": path for n, path in enumerate(listed(self.score))}
        return {key: path for key, path in found.items() if path is not None}


def _named(shape: str) -> str:
    return "a and b" if shape == "a" else shape


def listed(value: str | list[str] | None) -> tuple[str, ...]:
    """None, one or several as several."""
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def layout_from(config: LayoutConfig) -> Layout:
    """The layout that the settings describe."""
    made = _made(config)
    named = tuple(config.paths.values())
    numbers = {path for path in named if column_of(path) in made.numbers}
    # Its columns are not asked for by name: one with dots in its name is found at reading, like every path.
    return replace(made, columns=(), also=(*made.columns, *made.also, *named), numbers=made.numbers | numbers)


def _made(config: LayoutConfig) -> Layout:
    asked = _instruction(config, config.instruction)
    high_wins, score = config.better == "higher", listed(config.score)
    if config.a is not None and config.b is not None:
        pair = Pair(
            config.a,
            config.b,
            config.prefer.verdict if config.prefer else None,
            asked or _instruction(config, config.instruction_a),
            _instruction(config, config.instruction_b),
            weight=config.weight,
            confidence=config.confidence,
        )
        return pairs(YOURS, pair)
    if config.responses is not None and asked is not None:
        form = Several(asked, config.responses, config.text, config.scores, score, config.rank, high_wins=high_wins)
        return several(YOURS, form)
    said = config.liked
    liked = None if said is None else Thumb(said.column, tuple(said.up), tuple(said.down))
    response = config.response or config.conversation
    assert response is not None, "one of the shapes is set"
    return one(YOURS, One(response, asked, score, liked, high_wins))


def _instruction(config: LayoutConfig, where: str | list[str] | None) -> Instruction | None:
    if where is None:
        return None
    system = listed(config.system)
    if isinstance(where, str) and "{" in where:
        return Instruction(tuple(PLACE.findall(where)), system=system, template=(where,))
    return Instruction(listed(where), system=system)
