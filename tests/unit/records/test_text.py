"""One instruction in the four styles and as a column of a file; braces and roles in its text change nothing."""

import pytest

from jpo_dist.records.comparisons import Item, Message
from jpo_dist.records.text import CONTENTS, HEADED, LINES, PROMPT, as_prompt, as_text

TURNS = (Message("system", "Be {brief}."), Message("user", "{role}"), Message("assistant", "A\nfig."))
ONE = Item.of("Name {content}.", "").instruction
STYLES = {"prompt": PROMPT, "headed": HEADED, "lines": LINES, "contents": CONTENTS}
WRITTEN = {
    "prompt": "System: Be {brief}.\n\nUser: {role}\n\nAssistant: A\nfig.",
    "headed": "[system]\nBe {brief}.\n\n[user]\n{role}\n\n[assistant]\nA\nfig.",
    "lines": "system: Be {brief}.\nuser: {role}\nassistant: A\nfig.",
    "contents": "Be {brief}.\n{role}\nA\nfig.",
}


@pytest.mark.parametrize("name", STYLES)
def test_each_style_writes_the_turns_its_own_way_and_one_user_message_as_it_is(name: str) -> None:
    assert as_text(TURNS, STYLES[name]) == WRITTEN[name]
    assert as_text(ONE, STYLES[name]) == "Name {content}."


def test_a_single_turn_of_another_role_is_not_taken_for_the_users() -> None:
    alone = (Message("system", "Be brief."),)
    assert as_text(alone) == "System: Be brief."
    assert as_prompt(alone) == [{"role": "system", "content": "Be brief."}]
    assert as_prompt(ONE) == "Name {content}."
