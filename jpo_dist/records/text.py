"""An instruction as text: one string or a conversation, for a prompt, a judge or a person."""

from typing import Any

from jpo_dist.records.comparisons import Item, Message


def plain_instruction(instruction: tuple[Message, ...]) -> str:
    """One user message as it is; more turns one below the other, each after its role."""
    if len(instruction) == 1 and instruction[0].role == "user":
        return instruction[0].content
    return "\n\n".join(f"{turn.role.title()}: {turn.content}" for turn in instruction)


def instruction_text(item: Item) -> str:
    """The turns of an instruction as one text, for embeddings and classifiers."""
    return "\n".join(turn.content for turn in item.instruction)


def as_prompt(item: Item) -> Any:
    """One user turn as a string, a conversation as messages."""
    turns = item.instruction
    return turns[0].content if len(turns) == 1 and turns[0].role == "user" else [turn._asdict() for turn in turns]
