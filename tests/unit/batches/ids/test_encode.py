"""Texts become ids in parts."""

from jpo_dist.batches.ids.encode import TEXTS_AT_ONCE, encode
from tests.support.tiny import byte_tokenizer


def test_texts_are_encoded_as_each_is_alone() -> None:
    """However many there are: they go to the tokenizer in parts."""
    texts = [f"say {n} </s>é" for n in range(2 * TEXTS_AT_ONCE + 3)]
    tokenizer = byte_tokenizer()
    alone = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert encode(tokenizer, texts) == alone
    assert encode(tokenizer, []) == []
