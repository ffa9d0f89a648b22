"""A column carries nothing by its name only where its text is no sentence of a person."""

import pytest

from jpo_dist.data.messages.columns import carries_nothing, example_of, may_instruct


@pytest.mark.parametrize("name", ["task", "source_text", "topic", "task_description", "category"])
@pytest.mark.parametrize(
    "text",
    [
        "Name a bird that sings.",
        "Which bird sings?",
        "请写一首关于春天和小鸟的诗，要押韵。",
        "Wissenschaftsgeschichtliche Zusammenfassungen erläutern",
        "Say what a bird is in a few plain words",
    ],
)
def test_a_sentence_under_a_name_of_metadata_may_instruct(name: str, text: str) -> None:
    assert not carries_nothing(name, example_of(text), frozenset())
    assert may_instruct(name, text, frozenset({name}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("id", "a-17"), ("task", "open qa"), ("topic", "Birds of North America"), ("language", "日本語"),
        ("created_at", "2024-01-01 12:00:00"), ("source", "https://a.example/of/some/great/length/beyond/forty.html"),
        ("model", "gpt-4-0613"), ("category", "Q&A"),
    ],
)  # fmt: skip
def test_a_few_words_under_such_a_name_carry_nothing(name: str, text: str) -> None:
    assert carries_nothing(name, example_of(text), frozenset())
    assert not may_instruct(name, text, frozenset())
