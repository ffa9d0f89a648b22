"""What a setting says of itself is what pydantic would gather, at every import."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from jpo_dist.config.explain import model_in
from launcher.config.documented import words_on
from launcher.config.schema import FILES


class Gathered(BaseModel):
    """Text of the class."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    first: int = 1
    """One line."""
    second: str = ""
    third: dict[str, list[int]]
    """Of two
      lines, "quoted"."""
    LIMIT: ClassVar[int] = 3
    """Of no setting."""


class Child(Gathered):
    fourth: float = 0.0
    """Its own."""
    first: int = 2
    """Another."""


def test_the_words_are_those_that_pydantic_gathers() -> None:
    for kind in (Gathered, Child):
        gathered = {name: field.description for name, field in kind.model_fields.items() if field.description}
        assert words_on(kind) == gathered
        assert len(gathered) == 2 + (kind is Child)


def test_every_setting_says_what_it_is_for() -> None:
    """A section may leave that to its class."""
    silent = [
        f"{kind.__name__}.{name}" for root in FILES for kind, name in settings_of(root) if not words_on(kind).get(name)
    ]
    assert silent == []


def settings_of(kind: type[BaseModel]) -> list[tuple[type[BaseModel], str]]:
    found: list[tuple[type[BaseModel], str]] = []
    for name, field in kind.model_fields.items():
        below = model_in(field.annotation)[0]
        found += [(kind, name)] if below is None else settings_of(below)
    return found
