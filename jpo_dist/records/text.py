"""An instruction as text: one string or a conversation, for a prompt, a judge or a person."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jpo_dist.records.comparisons import Message


class Style(NamedTuple):
    """How several turns become one text."""

    turn: str
    """One turn, with {content} and the role as it is ({role}) or with a capital ({Role})."""
    between: str
    """What stands between two turns."""


PROMPT = Style("{Role}: {content}", "\n\n")
"""For models. The judge's stored answers are found by the bytes of its prompts, so this must not change."""
HEADED = Style("[{role}]\n{content}", "\n\n")
"""For annotators. Exported tasks are compared with it, so this must not change either."""
LINES = Style("{role}: {content}", "\n")
"""For tables and pages."""
CONTENTS = Style("{content}", "\n")
"""For embeddings and classifiers: what was said, without who said it."""


def as_text(instruction: Sequence[Message], style: Style = PROMPT) -> str:
    """One user message as it is; several turns, or another role's, one after the other in a style.

    >>> as_text((Message("system", "Be brief."), Message("user", "Name a fruit.")), LINES)
    'system: Be brief.\\nuser: Name a fruit.'
    """
    if is_one_message(instruction):
        return instruction[0].content
    turns = ({"role": t.role, "Role": t.role.title(), "content": t.content} for t in instruction)
    return style.between.join(style.turn.format(**turn) for turn in turns)


def as_prompt(instruction: Sequence[Message]) -> Any:
    """How a file of prompts holds an instruction: one user message as a string, a conversation as messages."""
    return instruction[0].content if is_one_message(instruction) else [turn._asdict() for turn in instruction]


def is_one_message(instruction: Sequence[Message]) -> bool:
    """Whether an instruction is one user message, which every reader shows as it is."""
    return len(instruction) == 1 and instruction[0].role == "user"
