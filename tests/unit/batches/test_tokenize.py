"""Text to tokens: one BOS, one end, a boundary that equal instructions share, and cuts that look at one item only."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from jpo_dist.batches.tokenize import TokenizedItems, tokenize
from jpo_dist.records.comparisons import Item
from tests.support.tiny import PLAIN, byte_tokenizer
from tests.support.tokens import BOS, EOS, ITEM, SHORT, data, one, text_of, with_template


def test_plain_template_is_bos_instruction_response_eos() -> None:
    ids, boundary = one(byte_tokenizer(), ITEM, data())
    assert text_of(byte_tokenizer(), ids) == "<s>### Instructions: Name a fruit.\n\n### Response:A pear.</s>"
    assert text_of(byte_tokenizer(), ids[boundary:]) == "A pear.</s>"
    assert (ids.count(BOS), ids.count(EOS)) == (1, 1)


def test_a_cut_that_would_leave_nothing_of_a_response_is_refused() -> None:
    """Such an item taught to end at once."""
    for most, fits in ((38, True), (39, False)):
        settings = data("{instruction}\n=>", over_long="truncate", max_length=40, max_instruction_length=most)
        if not fits:
            with pytest.raises(ValueError, match=r"max_instruction_length \(39\) leaves no room .* its end takes 1"):
                tokenize(byte_tokenizer(), [Item.of("a" * 90, "yes")], settings)
            continue
        found = tokenize(byte_tokenizer(), [Item.of("a" * 90, "yes")], settings)
        assert text_of(byte_tokenizer(), list(found.ids(0))[-2:]) == "y</s>"


def test_a_tokenizer_without_bos_gets_none() -> None:
    ids, boundary = one(byte_tokenizer(False), ITEM, data())
    assert text_of(byte_tokenizer(False), ids) == "### Instructions: Name a fruit.\n\n### Response:A pear.</s>"
    assert boundary == len(ids) - len("A pear.") - 1


def test_a_tokenizer_that_adds_its_own_bos_and_eos_is_not_asked_to() -> None:
    """Llama's post-processor puts BOS before every encoded text, so before the response too if it were let."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = copy.deepcopy(byte_tokenizer())
    specials = [("<s>", BOS), ("</s>", EOS)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=specials)
    assert tokenizer.encode("a")[0] == BOS
    assert one(tokenizer, ITEM, data()) == one(byte_tokenizer(), ITEM, data())


@given(st.text(max_size=30), st.text(max_size=30))
@settings(deadline=None)
def test_any_text_comes_back_with_one_bos_and_one_eos(instruction: str, response: str) -> None:
    ids, boundary = one(byte_tokenizer(), Item.of(instruction, response), data())
    assert bytes_of(ids[1:boundary]) == PLAIN.replace("{instruction}", instruction).encode()
    assert bytes_of(ids[boundary:-1]) == response.encode()
    assert (ids[0], ids[-1], ids.count(BOS), ids.count(EOS)) == (BOS, EOS, 1, 1)


def bytes_of(ids: list[int]) -> bytes:
    """What byte tokens stand for, also where they are no valid text by themselves."""
    return b"".join(BYTES[i] for i in ids)


def _byte_table() -> dict[int, bytes]:
    table = {}
    for character, number in byte_tokenizer().get_vocab().items():
        if len(character) == 1:
            point = ord(character)
            printable = 33 <= point <= 126 or 161 <= point <= 172 or 174 <= point <= 255
            table[number] = bytes([point]) if printable else b""
    hidden = [b for b in range(256) if not (33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255)]
    for n, b in enumerate(hidden):
        table[byte_tokenizer().convert_tokens_to_ids(chr(256 + n))] = bytes([b])
    return table


BYTES = _byte_table()


def test_a_merge_over_the_boundary_does_not_happen() -> None:
    """BPE that knows `:*` as one token, as real ones know `:"`: the header stays whole, equal tokens for both sides."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: i for i, t in enumerate(["<s>", "</s>", *alphabet, ":*"])}
    backend = Tokenizer(models.BPE(vocabulary, [(":", "*")]))
    merging = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    assert len(merging.encode("Response:*a", add_special_tokens=False)) == len("Response:*a") - 1, "it does merge"
    config = data("Response{instruction}:")
    star, plain = (tokenize(merging, [Item.of("x", r)], config) for r in ("*a", "ba"))
    n = int(star.instruction_lengths_N[0])
    assert n == int(plain.instruction_lengths_N[0])
    assert star.ids(0)[:n].tolist() == plain.ids(0)[:n].tolist()
    assert star.ids(0)[n:].tolist() == merging.convert_tokens_to_ids(["*", "a", "</s>"])


def test_a_trained_bpe_gives_equal_instructions_equal_tokens() -> None:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([f"### Response:{c}word {i}" for i in range(50) for c in '*" a'], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    tokens = tokenize(
        tokenizer, [Item.of("Same.", r) for r in ('"quoted"', "*starred*", "plain", " spaced", "")], data()
    )
    heads = {tuple(tokens.ids(i)[: tokens.instruction_lengths_N[i]].tolist()) for i in range(len(tokens))}
    assert len(heads) == 1


def test_no_items_give_no_tokens() -> None:
    tokens = tokenize(byte_tokenizer(), [], data())
    assert (len(tokens), len(tokens.ids_T)) == (0, 0)


def test_digest_is_of_the_ids_alone_because_log_probs_of_tokens_are() -> None:
    ids, offsets = np.array([0, 5, 6, 1, 0, 5, 6, 1, 0, 5, 7, 1], np.int32), np.array([0, 4, 8, 12])
    tokens = TokenizedItems(ids, offsets, np.array([2, 3, 2]))
    assert tokens.digest(0) == tokens.digest(1) != tokens.digest(2)
    assert tokens.digest(0) == TokenizedItems(ids[:4].astype(np.int64), offsets[:2], np.array([2])).digest(0)
    assert tokens.digest(0) != TokenizedItems(ids[:3], np.array([0, 3]), np.array([2])).digest(0)


def test_take_is_tokenizing_those_items_alone() -> None:
    items = [Item.of(f"say {n}", "yes " * n) for n in range(5)]
    tokens = tokenize(byte_tokenizer(), items, data("{instruction}\n=>"))
    rows = np.array([3, 0, 4])
    taken, alone = tokens.take(rows), tokenize(byte_tokenizer(), [items[r] for r in rows], data("{instruction}\n=>"))
    for name in ("ids_T", "offsets", "instruction_lengths_N"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(alone, name))
    assert len(tokens.take(np.array([], dtype=np.int64))) == 0


def cut(tokenizer: Any, *items: Item) -> TokenizedItems:
    return tokenize(tokenizer, list(items), data("{instruction}\n=>", over_long="truncate", **SHORT))


def test_truncation_keeps_bos_header_and_eos() -> None:
    tokens = cut(byte_tokenizer(), Item.of("i" * 50, "abcdefghijklmnop" * 4))
    n = int(tokens.instruction_lengths_N[0])
    assert text_of(byte_tokenizer(), tokens.ids(0)[:n].tolist()) == "<s>" + "i" * 26 + "\n=>"
    assert text_of(byte_tokenizer(), tokens.ids(0)[n:].tolist()) == "abcdefghi</s>"
    assert (n, tokens.lengths_N[0], tokens.truncated) == (30, 40, 1)


def test_truncation_without_bos_keeps_the_last_instruction_tokens() -> None:
    tokens = cut(byte_tokenizer(False), Item.of("i" * 50, "r" * 50))
    n = int(tokens.instruction_lengths_N[0])
    assert text_of(byte_tokenizer(False), tokens.ids(0)[:n].tolist()) == "i" * 27 + "\n=>"
    assert int(tokens.lengths_N[0]) == 40


def test_a_short_instruction_leaves_its_room_to_the_response() -> None:
    tokens = cut(byte_tokenizer(), Item.of("i", "r" * 100))
    assert text_of(byte_tokenizer(), tokens.ids(0).tolist()) == "<s>i\n=>" + "r" * (40 - 6) + "</s>"


def test_a_long_instruction_is_whole_when_the_item_fits() -> None:
    tokens = cut(byte_tokenizer(), Item.of("i" * 34, "r"))
    assert (int(tokens.lengths_N[0]), int(tokens.instruction_lengths_N[0]), tokens.truncated) == (40, 38, 0)


def test_a_loser_much_longer_than_its_winner_is_cut_by_its_own_length() -> None:
    """The first public JPO code cut the loser by the winner's length."""
    winner, loser = Item.of("q", "yes"), Item.of("q", "no " * 100)
    together = cut(byte_tokenizer(), winner, loser)
    assert together.ids(0).tolist() == cut(byte_tokenizer(), winner).ids(0).tolist()
    assert together.ids(1).tolist() == cut(byte_tokenizer(), loser).ids(0).tolist()
    assert together.lengths_N.tolist() == [len("q\n=>yes") + 2, 40]


texts = st.text(alphabet="ab \n", max_size=60)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=5), st.booleans())
@settings(deadline=None)
def test_truncation_of_an_item_depends_on_that_item_only(pairs: list[tuple[str, str]], bos: bool) -> None:
    tokenizer = byte_tokenizer(bos)
    items = [Item.of(*pair) for pair in pairs]
    tokens = cut(tokenizer, *items)
    for row, item in enumerate(items):
        alone = cut(tokenizer, item)
        assert tokens.digest(row) == alone.digest(0)
        assert tokens.lengths_N[row] <= 40
        assert tokens.ids(row)[-1] == EOS
        assert not bos or tokens.ids(row)[0] == BOS
    assert tokens.truncated == sum(cut(tokenizer, item).truncated for item in items)


def test_truncation_holds_when_the_end_of_turn_has_several_tokens() -> None:
    """A template may end the turn with text and then EOS: `\\n### End</s>` is 8 tokens here."""
    template = "{% for m in messages %}{{ m['content'] }}### End</s>{% endfor %}"
    config = data("chat", over_long="truncate", max_length=40, max_instruction_length=31)
    items = [Item.of("i" * 50, "r" * 50)]
    tokens = tokenize(with_template(template), items, config)
    assert tokens.lengths_N[0] == 40
    assert text_of(byte_tokenizer(), list(tokens.ids(0))[-9:]).startswith("r")
    with pytest.raises(ValueError, match=r"\(32\) leaves no room for a response .* of which its end takes 8"):
        tokenize(with_template(template), items, config.model_copy(update={"max_instruction_length": 32}))
