"""VADER as a reward: its published examples, and its sign by what was asked."""

import pytest

pytest.importorskip("vaderSentiment", reason="the extra `sentiment` is not installed")

from jpo_dist.evaluate.sentiment import as_asked, compound, positive
from jpo_dist.records.comparisons import Item


@pytest.mark.parametrize(
    ("text", "score"),
    [  # from the package's README
        ("VADER is smart, handsome, and funny.", 0.8316),
        ("VADER is VERY SMART, handsome, and FUNNY!!!", 0.9342),
        ("The book was only kind of good.", 0.3832),
        ("Today sucks, but I'll get by", -0.1901),
        ("", 0.0),
    ],
)
def test_scores_are_those_that_were_published(text: str, score: float) -> None:
    assert compound(text) == pytest.approx(score, abs=1e-4)


def test_the_instruction_says_which_way() -> None:
    text = "What a wonderful, funny film."
    score = compound(text)
    assert score > 0.5
    assert positive(Item.of("Write a negative film review.", text)) == score
    assert as_asked(Item.of("Write a positive film review.", text)) == score
    assert as_asked(Item.of("Write a NEGATIVE film review.", text)) == -score
    assert as_asked(Item.of("Write a film review.", text)) is None
    assert as_asked(Item.of("Write a positive or negative film review.", text)) is None
