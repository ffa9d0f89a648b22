"""Transcripts of the Anthropic HH kind keep their turns and are cut only where both sides agree."""

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
