"""The program that makes the sample set in jpo_dist/sample: instructions, sampled responses, comparisons, card.

    python -m jpo_dist.sample.make --model FOLDER     sample the responses, then pair and write
    python -m jpo_dist.sample.make                    pair and write, from the responses in samples.jsonl

held_out.jsonl and tuning.jsonl need neither: instructions about topics that no comparison has, those held out of two
kinds more.

Sampling takes minutes and depends on the machine's arithmetic; everything after it depends on the responses and the
seed alone, so the responses are shipped beside the comparisons made from them.
"""

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from jpo_dist.evaluate.constraints import KINDS, Constraint, instruction_with
from jpo_dist.sample.card import card
from jpo_dist.sample.kinds import UNTRAINED
from jpo_dist.sample.pairs import BLOCK, pair, usable_responses

TOPICS = {
    "train": """breakfast, rain, bicycles, cats, gardening, sleep, coffee, swimming, books, bread, the moon, trains,
        honey, birthdays, chess, dogs, camping, soup, music, walking, snow, tea, shoes, painting, bees, pizza,
        the beach, libraries, apples, dancing, clocks, horses, pancakes, maps, friendship, cheese, running, kites,
        rivers, yoga""",
    "validation": "birds, chocolate, hiking, museums, soap, winter, carrots, guitars, farms, jokes",
    "evaluation": "fish, summer, baking, buses, trees, puzzles, lemons, school",
}
"""Instructions about one topic are all in one split."""
HELD_OUT_TOPICS = """spiders, autumn, sandwiches, airplanes, flowers, crosswords, oranges, hospitals, elephants, spring,
    cookies, boats, mountains, card games, grapes, bakeries, penguins, fog, salad, taxis, forests, dominoes, cherries,
    markets, turtles, thunder, noodles, bridges, deserts, marbles, melons, theaters, frogs, sunshine, rice, elevators,
    islands, riddles, potatoes, zoos, owls, wind, popcorn, tractors, caves, balloons, onions, hotels, whales, ice cream,
    lakes, mushrooms, parks, foxes, stars, omelets, scooters, waterfalls, drawing, peppers, dinosaurs,
    ducks, clouds, waffles, ladders, valleys, singing, beans, offices, rabbits, sunsets, muffins, umbrellas"""
TUNING_TOPICS = """castles, salt, kangaroos, wallets, lanterns, goats, pencils, radios, violins, peaches, lizards,
    carpets, helmets, mirrors, harvests, pianos, pillows, volcanoes, tomatoes, postcards"""
"""For instructions on which settings are chosen: in no comparison, and not held out."""
REQUESTS = (
    "Tell me something about {}.",
    "Give me one tip about {}.",
    "What is good about {}?",
    "Share a short fact about {}.",
    "Why do people like {}?",
    "Say something nice about {}.",
    "What should I know about {}?",
    "Describe {} to a child.",
)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "max_words": (10, 12, 15, 20),
    "min_words": (15, 20, 25),
    "include_word": ("because", "happy", "good", "people", "day", "small"),
    "avoid_word": ("the", "and", "is", "of"),
    "bullets": (2, 3),
    "json_keys": (("name", "reason"), ("answer",), ("fact",)),
    "starts_with": ("Sure", "Yes", "I think", "I like"),
}
DOUBLES = (
    ("max_words", "ends_with_question"),
    ("one_sentence", "include_word"),
    ("max_words", "no_commas"),
    ("one_sentence", "avoid_word"),
    ("min_words", "no_commas"),
    ("one_sentence", "has_number"),
)
HARD = {"lower_case", "bullets", "json_keys", "starts_with"}
"""Kinds that the model rarely satisfies: sampled twice as often."""
MAX_NEW_TOKENS = 48
SIZES = {"train": (1000, 1000), "validation": (120, 120)}
"""Conditional and joint comparisons of each split."""
CHUNK = 128
"""Responses sampled at a time."""


class Instruction(NamedTuple):
    """A composed instruction, with what a program checks in its responses."""

    split: str
    topic: str
    text: str
    constraints: tuple[Constraint, ...]

    @property
    def checks(self) -> list[dict[str, Any]]:
        """The constraints in their JSON form."""
        return [constraint.as_json() for constraint in self.constraints]

    @property
    def copies(self) -> int:
        """How many responses to sample."""
        if self.split == "evaluation":
            return 2
        return 12 if {constraint.kind for constraint in self.constraints} & HARD else 6


def compose(seed: int) -> list[Instruction]:
    """Every topic with every kind and one pair of kinds, the request and the argument drawn; well mixed."""
    draw = random.Random(seed)
    made = []
    trained = [(kind,) for kind in KINDS if kind not in UNTRAINED]
    for split, topics in TOPICS.items():
        for i, topic in enumerate(re.split(r",\s+", topics)):
            made += [_instruction(split, topic, kinds, draw) for kinds in [*trained, DOUBLES[i % len(DOUBLES)]]]
    draw.shuffle(made)
    return made


def compose_held_out(seed: int) -> list[Instruction]:
    """Every held-out topic with every kind, those that are never trained on among them, and one pair of kinds."""
    return _compose_about("held_out", HELD_OUT_TOPICS, KINDS, random.Random(seed))


def compose_tuning(seed: int) -> list[Instruction]:
    """Every topic of TUNING_TOPICS with every kind that is trained on and one pair of kinds."""
    return _compose_about(
        "tuning", TUNING_TOPICS, [kind for kind in KINDS if kind not in UNTRAINED], random.Random(seed + 1)
    )


def _compose_about(split: str, topics: str, kinds: Iterable[str], draw: random.Random) -> list[Instruction]:
    made, singles = [], [(kind,) for kind in kinds]
    for i, topic in enumerate(re.split(r",\s+", topics)):
        made += [_instruction(split, topic, drawn, draw) for drawn in [*singles, DOUBLES[i % len(DOUBLES)]]]
    draw.shuffle(made)
    return made


def _instruction(split: str, topic: str, kinds: tuple[str, ...], draw: random.Random) -> Instruction:
    arguments = ARGUMENTS | UNTRAINED
    constraints = tuple(Constraint(kind, draw.choice(arguments.get(kind, (None,)))) for kind in kinds)
    request = draw.choice(REQUESTS).format(topic)
    # Asked in capitals for small letters, this model practically never obeys.
    request = request.lower() if "lower_case" in kinds else request
    return Instruction(split, topic, instruction_with(request, constraints, draw.randrange(2)), constraints)


def sample(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], copies: int, seed: int
) -> list[list[str | None]]:
    """`copies` responses to each prompt at temperature 1; None where the model did not end in MAX_NEW_TOKENS."""
    generator, eos = torch.Generator().manual_seed(seed), tokenizer.eos_token_id
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    encoded = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    mask = encoded.attention_mask
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=encoded.input_ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1
    )
    cache = out.past_key_values
    cache.batch_repeat_interleave(copies)
    mask = mask.repeat_interleave(copies, 0)
    logits = out.logits[:, -1].repeat_interleave(copies, 0)
    tokens: list[list[int]] = [[] for _ in mask]
    live = torch.arange(len(mask))
    for step in range(MAX_NEW_TOKENS):
        drawn = draw_tokens(logits, generator)
        for row, token in zip(live.tolist(), drawn[:, 0].tolist(), strict=True):
            tokens[row].append(token)
        keep = (drawn[:, 0] != eos).nonzero()[:, 0]
        if len(keep) == 0 or step == MAX_NEW_TOKENS - 1:
            break
        if len(keep) < len(live):  # finished rows leave the batch: half of the work is saved
            cache.batch_select_indices(keep)
            mask, live, drawn = mask[keep], live[keep], drawn[keep]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
        positions = mask.sum(-1, keepdim=True) - 1
        logits = model(
            input_ids=drawn, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        ).logits[:, -1]
    responses = [tokenizer.decode(row, skip_special_tokens=True).strip() if row[-1] == eos else None for row in tokens]
    return [responses[i : i + copies] for i in range(0, len(responses), copies)]


def draw_tokens(logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(B, 1) one token a row of logits (B, V), by the inverse of the distribution function.

    On a CPU this is ten times as fast as torch.multinomial.
    """
    cumulative = logits.float().softmax(-1).cumsum(-1, dtype=torch.float64)
    point = torch.rand(len(logits), 1, generator=generator, dtype=torch.float64) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, point, right=True).clamp(max=logits.shape[-1] - 1)


def sampled(model_folder: str, instructions: list[Instruction], seed: int) -> Iterator[dict[str, Any]]:
    """Rows of samples.jsonl, CHUNK responses at a time, so that a part of the rows is a fair part of the set."""
    tokenizer = AutoTokenizer.from_pretrained(model_folder, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.bfloat16, trust_remote_code=False).eval()
    chunks: list[list[Instruction]] = []
    for copies in sorted({instruction.copies for instruction in instructions}):
        group = [instruction for instruction in instructions if instruction.copies == copies]
        size = CHUNK // copies
        chunks += [group[start : start + size] for start in range(0, len(group), size)]
    random.Random(seed).shuffle(chunks)
    for number, chunk in enumerate(chunks):
        prompts = [instruction.text for instruction in chunk]
        with torch.inference_mode():
            responses = sample(model, tokenizer, prompts, chunk[0].copies, seed + 1 + number)
        for instruction, texts in zip(chunk, responses, strict=True):
            finished = [text for text in texts if text is not None]
            yield {
                "split": instruction.split,
                "topic": instruction.topic,
                "instruction": instruction.text,
                "constraints": instruction.checks,
                "responses": finished,
                "unfinished": len(texts) - len(finished),
            }


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """JSON lines, each on its way to the disk as soon as it is made: sampling takes minutes."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")
            file.flush()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_set(rows: list[dict[str, Any]], folder: Path, seed: int) -> None:
    """Everything that is made from the sampled responses: comparisons, evaluation instructions, card."""
    folder.mkdir(parents=True, exist_ok=True)
    pools = {split: usable_responses(row for row in rows if row["split"] == split) for split in SIZES}
    pairs = {split: pair(pools[split], *SIZES[split], seed) for split in SIZES}
    for split, found in pairs.items():
        write_rows(folder / f"{split}.jsonl", (comparison.as_row() for comparison in found))
    evaluation = [
        {key: row[key] for key in ("instruction", "constraints")} for row in rows if row["split"] == "evaluation"
    ]
    write_rows(folder / "evaluation.jsonl", evaluation)
    made = {"tuning": compose_tuning(seed), "held_out": compose_held_out(seed)}
    untrained = {
        name: [{"instruction": one.text, "constraints": one.checks, "topic": one.topic} for one in instructions]
        for name, instructions in made.items()
    }
    for name, instructions_of in untrained.items():
        write_rows(folder / f"{name}.jsonl", instructions_of)
    facts = {
        "seed": seed,
        "block": BLOCK,
        "max_new_tokens": MAX_NEW_TOKENS,
        "num_requests": len(REQUESTS),
        "num_untrained": len(UNTRAINED),
        "untrained": ", ".join(f"`{kind}`" for kind in UNTRAINED),
    }
    (folder / "CARD.md").write_text(card(rows, pools, pairs, untrained, facts), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of a causal language model; without it, the responses in OUT are used")
    parser.add_argument("--out", type=Path, default=Path("jpo_dist/sample"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    samples = args.out / "samples.jsonl"
    if args.model:
        args.out.mkdir(parents=True, exist_ok=True)
        write_rows(samples, sampled(args.model, compose(args.seed), args.seed))
    write_set(read_rows(samples), args.out, args.seed)


if __name__ == "__main__":
    main()
