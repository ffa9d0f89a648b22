"""`chosen` and `rejected` as two plain texts: transcripts of the Anthropic HH kind, or any text with one beginning."""

import re

from jpo_dist.data.messages.turns import conversation
from jpo_dist.data.row_values import BadField, text
from jpo_dist.records.comparisons import Item, Message

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
# Where a word ends in scripts that put no space between words.
_STOPS = "。！？：；，、．…"
_GAP = re.compile(rf"\s|[{_STOPS}]")


def two_texts(chosen: str, rejected: str) -> tuple[Item, Item]:
    """Winner and loser. Two transcripts are read each for itself, so their instructions may differ."""
    if all(is_transcript(side) for side in (chosen, rejected)):
        sides = {"chosen": chosen, "rejected": rejected}
        winner, loser = (conversation(transcript(value, field), field) for field, value in sides.items())
        return winner, loser
    if chosen == rejected:
        raise BadField("rejected", "winner equals loser")
    cut = end_of_instruction(chosen, rejected)
    return Item.of(chosen[:cut], chosen[cut:]), Item.of(rejected[:cut], rejected[cut:])


def is_transcript(value: str) -> bool:
    """Whether a text is turns of `Human:` and `Assistant:`."""
    return value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def transcript(value: str, field: str) -> tuple[Message, ...]:
    """`\\n\\nHuman: …\\n\\nAssistant: …` as turns.

    One space after a name belongs to the name. A name inside a line ("I said: Human: …") starts no turn.
    """
    value = value.lstrip()
    marks = list(_TURN.finditer(value))
    ends = [*(mark.start() for mark in marks[1:]), len(value)]
    turns = [
        (_ROLES[mark.group(1)], value[mark.end() : end].removeprefix(" "))
        for mark, end in zip(marks, ends, strict=True)
    ]
    return tuple(Message(role, text(content, f"{field}[{n}]")) for n, (role, content) in enumerate(turns))


def _common(one: str, other: str) -> int:
    """Characters of the longest common beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def end_of_instruction(chosen: str, rejected: str) -> int:
    """Where two different texts with a common beginning part: TRL's rule, moved back so that no word is cut.

    The longest common prefix alone would give "… A: Ap" + "ple" and "… A: Ap" + "ricot". As in TRL one space before
    the response belongs to the response. Instruction + response is exactly the text.
    """
    common = _common(chosen, rejected)
    # Something must be left on both sides. Only places that may do are looked at: texts may have megabytes.
    first, last = len(chosen) - len(chosen.lstrip()), min(len(text.rstrip()) for text in (chosen, rejected)) - 1
    gaps = [gap.start() for gap in _GAP.finditer(chosen, first, common + 1)]
    for cut in sorted({place for gap in gaps for place in (gap, gap + 1) if first < place <= min(common, last)})[::-1]:
        before_space = all(text[cut : cut + 1].isspace() for text in (chosen, rejected))
        after_stop = chosen[cut - 1] in _STOPS or (chosen[cut - 1].isspace() and chosen[cut - 1] != " ")
        if before_space or after_stop:
            return cut
    raise BadField("chosen", "no common instruction")
