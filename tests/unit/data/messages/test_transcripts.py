"""Transcripts of the Anthropic HH kind keep their turns and are cut only where both sides agree."""

import random

import pytest

from jpo_dist.data.messages.transcripts import end_of_instruction
from jpo_dist.data.row_values import BadField
from jpo_dist.records.comparisons import Item, Message
from tests.support.rows import bad, reading


def test_hh_transcripts_keep_turns_and_a_joint_pair_whole():
    chosen = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Name a fruit:\n\nHuman-made ones too.\n\nAssistant: A pear."
    rejected = "\n\nHuman: Name a color.\n\nAssistant: Rope."
    found = reading({"chosen": chosen, "rejected": rejected}).comparison
    assert found is not None
    assert found.winner == Item(
        (
            Message("user", "Hi"),
            Message("assistant", "Hello."),
            Message("user", "Name a fruit:\n\nHuman-made ones too."),
        ),
        "A pear.",
    )
    assert found.loser == Item.of("Name a color.", "Rope.")
    assert found.protocol == "joint"


def test_hh_transcripts_with_a_common_beginning_are_conditional_and_not_cut_there():
    before = "\n\nHuman: Name a fruit.\n\nAssistant:"
    found = reading({"chosen": f"{before} A pear.", "rejected": f"{before} A brick."}).comparison
    assert found is not None
    assert (found.winner, found.loser) == (Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick."))


def test_a_transcript_without_a_last_answer_is_bad():
    good = "\n\nHuman: a\n\nAssistant: b"
    assert bad({"chosen": good, "rejected": f"{good}\n\nHuman: c"}) == ("rejected[2].role", "last turn not assistant")
    assert bad({"chosen": good, "rejected": "\n\nHuman: a\n\nAssistant: "}) == ("rejected[1]", "empty")


def test_where_two_texts_of_megabytes_part_is_found_at_once() -> None:
    """Two texts of 3 MB without a space took two minutes, for every cut copied them."""
    long = "x" * 3_000_000
    with pytest.raises(BadField, match="no common instruction"):
        end_of_instruction(f"{long}a", f"{long}b")
    assert end_of_instruction(f"Q: {long}a", f"Q: {long}b") == 2
    assert end_of_instruction(f"{long}\na", f"{long}\nb") == len(long) + 1


def by_rule(chosen: str, rejected: str) -> int | None:
    """The rule, tried at every cut."""
    common = max(n for n in range(1 + min(len(chosen), len(rejected))) if chosen[:n] == rejected[:n])
    for cut in range(common, 0, -1):
        rests = chosen[cut:], rejected[cut:]
        before_space = all(rest[:1].isspace() for rest in rests)
        after_stop = chosen[cut - 1] in "。！？：；，、．…" or (chosen[cut - 1].isspace() and chosen[cut - 1] != " ")
        if (before_space or after_stop) and all(rest.strip() for rest in rests) and chosen[:cut].strip():
            return cut
    return None


def by_code(chosen: str, rejected: str) -> int | None:
    try:
        return end_of_instruction(chosen, rejected)
    except BadField:
        return None


def test_the_place_is_that_of_the_rule_tried_at_every_cut() -> None:
    drawn = random.Random(0)
    for _ in range(5000):
        one = "".join(drawn.choice("ab 。\n\u2003:") for _ in range(drawn.randrange(8)))
        end = "".join(drawn.choice("ab 。\n") for _ in range(drawn.randrange(5)))
        other = one[: drawn.randrange(len(one) + 1)] + end
        if one != other:
            assert by_code(one, other) == by_rule(one, other), (one, other)
