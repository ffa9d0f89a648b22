"""How positive a text is, by VADER (Hutto and Gilbert, ICWSM 2014): a reward that is known, for studies of what a
method makes of labels. Its correlation with 15 to 27 human raters is .88 on tweets and .31 on lines of film reviews, so
it is the truth of a game, not of a text. Needs `pip install 'jpo-dist[sentiment]'`."""

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jpo_dist.records.comparisons import Item

_NEEDS_VADER = "sentiment needs vaderSentiment; pip install 'jpo-dist[sentiment]'"
_WORDS = re.compile(r"\b(positive|negative)\b")


def compound(text: str) -> float:
    """VADER's compound score, -1 to 1. Raises ValueError when vaderSentiment is missing."""
    return float(_analyzer().polarity_scores(text)["compound"])


def positive(item: "Item") -> float:
    """A checker: how positive the response is, -1 to 1, whatever was asked."""
    return compound(item.response)


def as_asked(item: "Item") -> float | None:
    """A checker: how positive the response is where the instruction says `positive`, how negative where it says
    `negative`; None where it says neither, or both."""
    from jpo_dist.records.text import as_text

    asked = set(_WORDS.findall(as_text(item.instruction).lower()))
    if len(asked) != 1:
        return None
    return compound(item.response) * (1 if asked == {"positive"} else -1)


@cache
def _analyzer() -> Any:
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
    except ImportError as error:
        raise ValueError(_NEEDS_VADER) from error
    return SentimentIntensityAnalyzer()
