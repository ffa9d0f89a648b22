"""Columns beside responses that may say which of them is better, where no layout reads them: they are told of."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jpo_dist.data.row_values import Row

_JUDGES = re.compile(
    r"(.*[_-])?(labels?|ratings?|ranks?|rankings?|rewards?|scores?|preferences?|votes?|grades?|points|quality|feedback|"
    r"wins?|winners?|better|best|choices?|chosen|preferred|likes|ups|correct|judge?ments?)([_-].*)?"
)
"""Columns that may say which of several responses is better."""
_SAFE = re.compile(r"(.*[_-])?(un)?(safe|safety|harm|harmful|harmless|toxic|toxicity|helpful|helpfulness)([_-].*)?")
"""Columns that judge a response by themselves, whatever else the row says."""
_RATES_A_SIDE = re.compile(
    r"(.*[_-])?(scores?|ratings?|rewards?|grades?|points|preferences?|quality|helpfulness|accuracy|f1|elo|"
    r"(win|pass)[_-]?rates?)([_-].*)?"
)
_IS_OF_A_SIDE = re.compile(
    r"(.*[_-])?(correct|incorrect|accurate|right|wrong|valid|pass|passed|solved|success)([_-].*)?"
)
"""Flags of a side; those that are true for the worse one are in _OF_THE_WORSE."""
_OF_THE_WORSE = re.compile(r"(.*[_-])?(incorrect|wrong)([_-].*)?")
_SIGNED = re.compile(r"(.*[_-])?(margins?|deltas?|diff|difference|gap)([_-].*)?")
"""A number that says by its sign which of two responses is better."""
_OF_ARGILLA = re.compile(r"[.-](responses|suggestion)")
"""What Argilla puts behind the name of a question."""
_SETTLES = re.compile(
    r"((human|annotator|user|crowd|gpt4?|judge|model|overall|final|majority|gold|true|raw|pairwise|is)[_-])?"
    r"(labels?|preferences?|preferred|wins?|winners?|verdicts?|choices?|votes?|better|best)"
    r"([_-]?(id|idx|index|label|response|side))?|.*[_-](preference|preferred|winner|verdict)"
)
"""Columns that may name the better of two responses, or the best of several, by one value."""
_PLACES_A_SIDE = re.compile(r"(.*[_-])?(ranks?|rankings?|places?)([_-].*)?")
_RATES_ALONE = re.compile(r"(label|verdict|rating|score|grade|quality|feedback|rank|points|reward|thumbs?|votes?)")
_TIES = re.compile(
    r"(is[_-]?)?(ties?|tied|draw|equal|both[_-]?(bad|equal|good)|(flip|swap)(ped)?|(revers|invert)(ed)?)"
)
_WEIGHS = re.compile(r"(.*[_-])?(weights?|importance)")
_COUNTS = re.compile(
    r"(.*[_-])?(len|lens|lengths?|num|counts?|tokens?|words|chars|ids?|idx|seeds?|temperatures?|times?|latency|costs?|"
    r"log_?probs?|logps?|perplexity|ppl|models?)([_-].*)?"
)
"""Columns with a number for each of several responses that says nothing of how good it is."""
_LEARNS = frozenset({"weight", "loss_weight", "train", "trainable", "loss"})
_FEW_WORDS = 3


def is_verdict(name: str) -> bool:
    """Whether a column may say by its name which of two or more responses is better."""
    return _JUDGES.fullmatch(name.lower()) is not None


def judges_itself(name: str) -> bool:
    """Whether a column judges a response by itself, whatever else the row says: is_safe, harmful."""
    return _SAFE.fullmatch(name.lower()) is not None


def opposed(names: Sequence[str]) -> list[tuple[str, str]]:
    """Columns that rate `chosen`, each with the one that rates `rejected`, or `reject`."""
    rates = (name for name in names if _RATES_A_SIDE.fullmatch(name.lower()) or places_a_side(name) or is_flag(name))
    found = ((name, name.replace("chosen", loser)) for name in rates for loser in ("rejected", "reject"))
    return [pair for pair in found if pair[0] != pair[1] and pair[1] in names]


def places_a_side(name: str) -> bool:
    """Whether a column says the place of a response, so that the lower one is the better."""
    return _PLACES_A_SIDE.fullmatch(name.lower()) is not None


def is_flag(name: str) -> bool:
    """Whether a column says of a response that it is right, or wrong, by true and false."""
    return _IS_OF_A_SIDE.fullmatch(name.lower()) is not None


def is_high_worse(name: str) -> bool:
    """Whether a column of a response says that it is worse by the higher number: its place, or that it is wrong."""
    return places_a_side(name) or _OF_THE_WORSE.fullmatch(name.lower()) is not None


def contradicts(row: Row, names: tuple[str, str]) -> bool:
    """Whether the first of two columns has a lower score than the second, a higher place, or is wrong where the second
    is right; text is a number where it spells one."""
    chosen, rejected = (_flag_or_number(row.get(name)) for name in names)
    return chosen > rejected if is_high_worse(names[0]) else chosen < rejected  # NaN is not


def _flag_or_number(value: Any) -> float:
    if isinstance(value, str) and value.lower() in ("true", "false"):  # as a CSV file has them
        return float(value.lower() == "true")
    return float(value) if isinstance(value, bool) else _number(value)


def signed(name: str, value: Any) -> int:
    """The sign of a number that says by it which of two responses is better; 0 where it says nothing."""
    number = _number(value) if _SIGNED.fullmatch(name.lower()) else 0.0
    return (number > 0) - (number < 0)


def rates_alone(name: str, value: Any) -> bool:
    """Whether a column beside a response may rate it, or say which of several it is: a number, a flag, a word."""
    if isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return is_verdict(name)
    if not isinstance(value, str) or not 0 < len(value.split()) <= _FEW_WORDS:
        return False
    name, is_figure = name.lower(), not math.isnan(_number(value))
    is_named = _SETTLES.fullmatch(name) or _RATES_ALONE.fullmatch(name)
    return bool(is_named) or (is_figure and is_verdict(name) and _COUNTS.fullmatch(name) is None)


def notes_of_signs(signs: Mapping[str, Mapping[int, int]]) -> list[str]:
    """What to say of such columns whose numbers have both signs; `signs`: how many have each."""
    return [
        f"{name} is below 0 in {count[-1]} of the first rows and above in {count[1]}, and is not read: chosen is taken "
        "for the better one in each"
        for name, count in signs.items()
        if count[-1] and count[1]
    ]


def settles(name: str, value: Any) -> str:
    """What a column that no layout of pairs reads may say of their verdict, for people; "" for nothing."""
    name, is_one = _OF_ARGILLA.sub("", name.lower()), isinstance(value, bool) or _is_place(value)
    if _TIES.fullmatch(name) and is_one and value:
        return "may say that neither is better, or that the other one is, and is not followed"
    if _SETTLES.fullmatch(name) and (is_one or _is_few_words(value) or _are_answers(value)):
        return "may say which of the two is better, and is not followed"
    if _WEIGHS.fullmatch(name) and not math.isnan(_number(value)):
        return "may be a weight, and is not read under this name"
    return ""


def _is_few_words(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value.split()) <= _FEW_WORDS


def _are_answers(value: Any) -> bool:
    """Whether a value has what one person after the other said, or a number for each side."""
    listed = value if isinstance(value, list) else []
    said = [one.get("value") if isinstance(one, dict) else one for one in listed]
    said = [one for one in said if one is not None]
    return bool(said) and all(_is_few_words(one) or _is_number(one) for one in said)


def ranks_otherwise(name: str, value: Any, texts: Sequence[Any]) -> bool:
    """Whether a column may say which of several responses is better, so that their order says nothing: a number for
    each, alone or in an object, pairs of places, the best one or its place."""
    name, length = name.lower(), len(texts)
    if isinstance(value, dict):
        lists = ((key, one) for key, one in value.items() if isinstance(one, list))
        return any(ranks_otherwise(key if is_verdict(key) else name, one, texts) for key, one in lists)
    if isinstance(value, list):
        if len(value) == length and all(isinstance(one, dict) for one in value):
            return any(is_verdict(key) and _is_number(said) for one in value for key, said in one.items())
        pairs = all(isinstance(one, list) and len(one) == 2 and all(map(_is_place, one)) for one in value)
        each = len(value) == length and all(map(_is_number, value))
        return bool(value) and (is_verdict(name) or judges_itself(name)) and (pairs or each)
    if _SETTLES.fullmatch(name) is None and name not in ("chosen", "answer", "correct"):
        return False
    return _is_place(value) or (isinstance(value, str) and (value in texts or value.strip().isdecimal()))


def is_not_learned(key: str, value: Any) -> bool:
    """Whether a key of a message says that its turn is not to be learned from, as OpenAI's `weight: 0` does."""
    return key in _LEARNS and isinstance(value, bool | int | float) and not value


def numbers_beside(name: str, value: Any, length: int) -> bool:
    """Whether a column has a number for each of several responses that may say how good it is."""
    has_each = isinstance(value, list) and len(value) == length and all(map(_is_number, value))
    return has_each and _COUNTS.fullmatch(name.lower()) is None


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, bool) or not math.isnan(_number(value))


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) or value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
