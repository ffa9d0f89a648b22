"""The shipped sample set obeys what its card claims, and the generator makes it again from the sampled responses."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import jpo_dist
from jpo_dist.evaluate.constraints import KINDS, Constraint, constraints_of, passes
from jpo_dist.evaluate.words_and_sentences import words
from jpo_dist.sample import make as generator
from jpo_dist.sample.card import CARD
from jpo_dist.sample.pairs import (
    BLOCK,
    MOST_USES,
    Pair,
    SampledResponse,
    instruction_only_accuracy,
    longer_wins,
    pair,
    random_pairs,
    shortcut_accuracy,
    usable_responses,
)

pytestmark = pytest.mark.slow

FOLDER = Path(jpo_dist.__file__).parent / "sample"
SPLITS = ("train", "validation")
TRAINED = set(KINDS) - set(generator.UNTRAINED)


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return generator.read_rows(FOLDER / "samples.jsonl")


@pytest.fixture(scope="module")
def pools(rows: list[dict]) -> dict[str, list[SampledResponse]]:
    return {split: usable_responses(row for row in rows if row["split"] == split) for split in SPLITS}


@pytest.fixture(scope="module")
def pairs(pools: dict[str, list[SampledResponse]]) -> dict[str, list[Pair]]:
    """The comparisons on disk, each side found again among the sampled answers of its own split."""
    found = {}
    for split in SPLITS:
        known = {(response.instruction, response.text): response for response in pools[split]}
        found[split] = [
            Pair(known[row["i_chosen"], row["r_chosen"]], known[row["i_reject"], row["r_reject"]])
            for row in generator.read_rows(FOLDER / f"{split}.jsonl")
        ]
    return found


def _instructions(split: str) -> set[str]:
    sides = ("i_chosen", "i_reject") if split in SPLITS else ("instruction",)
    return {row[side] for row in generator.read_rows(FOLDER / f"{split}.jsonl") for side in sides}


@pytest.mark.parametrize("split", SPLITS)
def test_every_winner_obeys_its_instruction_and_every_loser_breaks_its_own(split: str) -> None:
    for row in generator.read_rows(FOLDER / f"{split}.jsonl"):
        assert list(row) == ["i_chosen", "r_chosen", "i_reject", "r_reject"]
        assert constraints_of(row["i_chosen"])
        assert constraints_of(row["i_reject"])
        assert passes(constraints_of(row["i_chosen"]), row["r_chosen"]), row
        assert not passes(constraints_of(row["i_reject"]), row["r_reject"]), row
        assert words(row["r_reject"]), row


def test_the_constraints_kept_beside_an_instruction_are_those_it_states(rows: list[dict]) -> None:
    for row in [*rows, *generator.read_rows(FOLDER / "evaluation.jsonl")]:
        assert [constraint.as_json() for constraint in constraints_of(row["instruction"])] == row["constraints"]


def test_splits_share_no_instruction_and_no_topic(rows: list[dict]) -> None:
    for name in ("instruction", "topic"):
        in_split = {split: {row[name] for row in rows if row["split"] == split} for split in (*SPLITS, "evaluation")}
        assert sum(map(len, in_split.values())) == len(set.union(*in_split.values())) > 20
    topics = {row["instruction"]: row["topic"] for row in rows}
    held_out = {topics[instruction] for instruction in _instructions("validation") | _instructions("evaluation")}
    for instruction in _instructions("train"):
        assert not any(re.search(rf"\b{topic}\b", instruction, re.IGNORECASE) for topic in held_out), instruction


def test_no_comparison_and_no_instruction_is_repeated(pairs: dict[str, list[Pair]], rows: list[dict]) -> None:
    assert len({row["instruction"] for row in rows}) == len(rows) == 754
    for split in SPLITS:
        assert len(set(pairs[split])) == len(pairs[split])
        for joint in (False, True):
            sides = [side for pair in pairs[split] if pair.joint == joint for side in pair]
            assert max(Counter(sides).values()) <= MOST_USES


def test_the_evaluation_split_asks_for_every_kind(rows: list[dict]) -> None:
    kinds = Counter(c.kind for i in _instructions("evaluation") for c in constraints_of(i))
    assert set(kinds) == TRAINED
    assert min(kinds.values()) >= 8
    assert {row["instruction"] for row in rows if row["split"] == "evaluation"} == _instructions("evaluation")


def test_what_is_held_out_is_about_other_topics_and_has_kinds_that_no_comparison_has(rows: list[dict]) -> None:
    held_out = generator.read_rows(FOLDER / "held_out.jsonl")
    assert len({row["instruction"] for row in held_out}) == len(held_out) >= 1000
    topics = {row["topic"] for row in held_out}
    assert len(topics) == len(re.split(r",\s+", generator.HELD_OUT_TOPICS))
    texts = [text.casefold() for split in SPLITS for text in _instructions(split)]
    assert not [topic for topic in topics if any(re.search(rf"\b{topic}\b", text) for text in texts)]
    assert not topics & {row["topic"] for row in rows}
    kinds = Counter(constraint["kind"] for row in held_out for constraint in row["constraints"])
    assert set(kinds) == set(KINDS)
    assert min(kinds[kind] for kind in generator.UNTRAINED) >= 70
    for row in held_out:
        assert [constraint.as_json() for constraint in constraints_of(row["instruction"])] == row["constraints"]


def test_what_settings_are_chosen_on_is_in_no_other_file(rows: list[dict]) -> None:
    """Chosen on instructions that were trained on, or measured with, they would tell nothing."""
    tuning = generator.read_rows(FOLDER / "tuning.jsonl")
    assert len({row["instruction"] for row in tuning}) == len(tuning) >= 250
    topics = {row["topic"] for row in tuning}
    others = [*rows, *generator.read_rows(FOLDER / "held_out.jsonl")]
    assert not topics & {row["topic"] for row in others}
    texts = [row["instruction"].casefold() for row in others]
    assert not [topic for topic in topics if any(re.search(rf"\b{topic}\b", text) for text in texts)]
    assert {constraint["kind"] for row in tuning for constraint in row["constraints"]} == TRAINED


def test_the_card_counts_the_files(pairs: dict[str, list[Pair]], rows: list[dict]) -> None:
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    table = {
        name: list(map(int, re.findall(r"\d+", rest))) for name, rest in re.findall(r"\| `(\w+).jsonl` (.*)", card)
    }
    for split in SPLITS:
        joint = sum(pair.joint for pair in pairs[split])
        topics = {side.topic for pair in pairs[split] for side in pair}
        assert table[split] == [
            len(pairs[split]),
            len(pairs[split]) - joint,
            joint,
            len(_instructions(split)),
            len(topics),
        ]
        assert (len(pairs[split]) - joint, joint) == generator.SIZES[split]
    assert table["evaluation"][:2] == [len(_instructions("evaluation"))] * 2
    assert table["samples"][:2] == [len(rows)] * 2


def test_every_prefix_of_blocks_is_half_joint(pairs: dict[str, list[Pair]]) -> None:
    for found in pairs.values():
        for start in range(0, len(found) // (2 * BLOCK) * 2 * BLOCK, 2 * BLOCK):
            assert sum(pair.joint for pair in found[start : start + 2 * BLOCK]) == BLOCK


@pytest.mark.parametrize("size", [400, None])
def test_every_kind_wins_as_often_as_it_loses(pairs: dict[str, list[Pair]], size: int | None) -> None:
    part = pairs["train"][:size]
    wins, losses = (Counter(pair[side].kind for pair in part) for side in (0, 1))
    for kind in {*wins, *losses}:
        assert abs(wins[kind] - losses[kind]) <= 3 + 0.05 * (wins[kind] + losses[kind]), kind
    assert {part for kind in wins for part in kind.split("+")} == TRAINED


def test_joint_comparisons_use_instructions_that_conditional_ones_cannot(
    pools: dict[str, list[SampledResponse]], pairs: dict[str, list[Pair]]
) -> None:
    verdicts: dict[str, set[bool]] = {}
    for response in pools["train"]:
        verdicts.setdefault(response.instruction, set()).add(response.passed)
    joint = [pair for pair in pairs["train"] if pair.joint]
    one_sided = sum(any(len(verdicts[side.instruction]) == 1 for side in pair) for pair in joint)
    assert one_sided > 0.25 * len(joint)


@pytest.mark.slow
def test_the_instruction_alone_does_not_tell_the_winner(
    pools: dict[str, list[SampledResponse]], pairs: dict[str, list[Pair]]
) -> None:
    fit, test = ([pair for pair in pairs[split] if pair.joint] for split in SPLITS)
    assert 0.4 <= shortcut_accuracy(pairs["train"], seed=0) <= 0.6
    assert 0.4 <= instruction_only_accuracy(fit, test) <= 0.6
    random_fit, random_test = (random_pairs(pools[split], 400, seed=0) for split in SPLITS)
    assert instruction_only_accuracy(random_fit, random_test) > 0.65  # the classifier sees a shortcut that is there


def test_response_length_does_not_tell_the_winner(pairs: dict[str, list[Pair]]) -> None:
    for found in pairs.values():
        assert 0.45 <= longer_wins(found) <= 0.55


def test_items_are_short_and_the_files_small() -> None:
    for split in SPLITS:
        for row in generator.read_rows(FOLDER / f"{split}.jsonl"):
            assert all(len(row[side].split()) <= generator.MAX_NEW_TOKENS for side in row)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2.5e6


def _without_accuracies(text: str) -> str:
    return re.sub(r"^\| (balanced|random) .*", "", text, flags=re.MULTILINE)


@pytest.mark.slow
def test_the_generator_makes_the_shipped_files_again(rows: list[dict], tmp_path: Path) -> None:
    generator.write_set(rows, tmp_path, seed=0)
    for path in tmp_path.iterdir():
        made, shipped = (p.read_text(encoding="utf-8") for p in (path, FOLDER / path.name))
        # The classifier's accuracy comes from linear algebra that may round otherwise elsewhere.
        assert _without_accuracies(made) == _without_accuracies(shipped), path.name
    data = {path.name for path in FOLDER.iterdir() if path.is_file() and path.suffix != ".py"}
    assert data - {path.name for path in tmp_path.iterdir()} == {"samples.jsonl"}


def test_instructions_are_composed_from_the_seed_alone(rows: list[dict]) -> None:
    composed = generator.compose(0)
    assert composed == generator.compose(0) != generator.compose(1)
    assert {(i.split, i.topic, i.text) for i in composed} == {(r["split"], r["topic"], r["instruction"]) for r in rows}
    for instruction in composed:
        assert constraints_of(instruction.text) == instruction.constraints
    sampled = {row["instruction"]: len(row["responses"]) + row["unfinished"] for row in rows}
    assert all(sampled[instruction.text] == instruction.copies for instruction in composed)


def test_pairing_depends_on_answers_and_seed_only(pools: dict[str, list[SampledResponse]]) -> None:
    pool = pools["validation"]
    assert pair(pool, 40, 40, seed=3) == pair(pool[::-1], 40, 40, seed=3) != pair(pool, 40, 40, seed=4)


def test_pairing_ends_when_nothing_is_left() -> None:
    pool = [SampledResponse(f"i{i}", "t", "k", f"r{i}{passed}", passed) for i in range(3) for passed in (False, True)]
    made = pair(pool, 100, 100, seed=0)
    assert {p for p in made if not p.joint} == {Pair(pool[2 * i + 1], pool[2 * i]) for i in range(3)}
    assert {p for p in made if p.joint} == {
        Pair(w, lo) for w in pool for lo in pool if w.passed > lo.passed and w.instruction != lo.instruction
    }
    assert pair([], 5, 5, seed=0) == []
    assert pair(pool[1::2], 5, 5, seed=0) == []


def test_unfinished_and_wordless_responses_stand_in_no_comparison() -> None:
    row = {"instruction": "i", "topic": "t", "constraints": [Constraint("lower_case").as_json()], "unfinished": 2}
    assert usable_responses([{**row, "responses": ["yes", "No", "...", "", "yes", "see www.example.com"]}]) == [
        SampledResponse("i", "t", "lower_case", "yes", True),
        SampledResponse("i", "t", "lower_case", "No", False),
    ]


def _tiny() -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    names = ["<unk>", "<eos>", *(f"w{i}" for i in range(30))]
    words_only = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    words_only.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words_only, eos_token="<eos>", pad_token="<eos>")
    tokenizer.chat_template = "{{ messages[0]['content'] }} w0"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, eos_token_id=1, pad_token_id=1, initializer_range=0.5,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), tokenizer


def test_batched_sampling_continues_each_prompt_as_it_would_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the draw made greedy: padding, the cache and leaving the batch change nothing."""
    model, tokenizer = _tiny()
    monkeypatch.setattr(generator, "draw_tokens", lambda logits, _: logits.argmax(-1, keepdim=True))
    prompts = [" ".join(f"w{(7 * i + j) % 30}" for j in range(1 + i % 5)) for i in range(24)]
    with torch.inference_mode():
        found = generator.sample(model, tokenizer, prompts, copies=2, seed=0)
        expected = []
        for prompt in prompts:
            ids = tokenizer(f"{prompt} w0", return_tensors="pt").input_ids
            new = model.generate(ids, do_sample=False, max_new_tokens=generator.MAX_NEW_TOKENS)[0, ids.shape[1] :]
            text = tokenizer.decode(new, skip_special_tokens=True)
            expected.append([text if int(new[-1]) == tokenizer.eos_token_id else None] * 2)
    assert found == expected
    assert {text is None for texts in expected for text in texts} == {True, False}


def test_tokens_are_drawn_with_their_probability() -> None:
    logits = torch.tensor([[2.0, 0.0, -30.0, 1.0]]).repeat(20_000, 1)
    drawn = generator.draw_tokens(logits, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn[:, 0], minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits[0].softmax(-1), atol=0.012, rtol=0)


def test_the_card_says_how_to_make_the_set_again_and_under_which_licence() -> None:
    card = (FOLDER / "CARD.md").read_text(encoding="utf-8")
    assert "python -m jpo_dist.sample.make --model FOLDER --seed 0" in card
    assert "MIT" in card
    assert "Apache-2.0" in card
    assert "{" not in re.sub(r"`.*?`", "", card)
    assert len(card) > len(CARD)


def test_evaluation_rows_are_plain_json() -> None:
    for line in (FOLDER / "evaluation.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        assert list(row) == ["instruction", "constraints"]
        assert [Constraint.of(value).as_json() for value in row["constraints"]] == row["constraints"]
