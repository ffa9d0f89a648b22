"""Answers as benchmarks take them: AlpacaEval's model outputs, MT-Bench's and IFEval's answer files.

One file a temperature where there are several, and for AlpacaEval and IFEval, which know one answer to a prompt, one a
sample. What an answer must name beside its text stands in prompts.jsonl, from the benchmark's prompt file.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.files import read_json, replace
from jpo_dist.generate.answers import Answer, read_answers
from jpo_dist.generate.prompts import ALPACA_EVAL, IFEVAL, MT_BENCH, Prompt, kept_prompts
from jpo_dist.records.text import as_text

FORMATS = (ALPACA_EVAL, IFEVAL, MT_BENCH)
NEEDS = {
    ALPACA_EVAL: "an AlpacaEval file (a JSON list of instruction, output, generator or dataset)",
    IFEVAL: "an IFEval file (JSON lines of key, prompt, instruction_id_list, kwargs)",
    MT_BENCH: "an MT-Bench file (JSON lines of question_id, category, turns)",
}
EPOCH = 0.0
"""MT-Bench's `tstamp`. The true time would make equal answers different files."""


class Incomplete(ValueError):
    """Some answers that a benchmark wants are not there."""


class _One(NamedTuple):
    """All answers of one temperature; (prompt place, sample) to the answer."""

    prompts: list[Prompt]
    answers: dict[tuple[int, int], Answer]
    samples: int
    name: str
    """What the model is called."""


def require(name: str, prompts: Sequence[Prompt]) -> None:
    """Raises ValueError for a format that is none, and for prompts that did not come from its prompt file."""
    if name not in FORMATS:
        raise ValueError(f"--to {name} is no format; there are {', '.join(FORMATS)}")
    without = sum(not any(row["of"] == name for row in prompt.rows) for prompt in prompts)
    if without:
        raise ValueError(
            f"--to {name}: {without} of {len(prompts)} instructions did not come from {NEEDS[name]}; name "
            "that file, and no other, in instructions"
        )


def write(name: str, folder: Path) -> Path:
    """Write the answers in `folder` in this format into its folder `name`, which is returned.

    Raises ValueError where prompts are of another file, or answers lack.
    """
    prompts, answers = kept_prompts(folder), read_answers(folder)
    require(name, prompts)
    model = read_json(folder / "report.json").get("name", answers[0].model)
    target = folder / name
    target.mkdir(exist_ok=True)
    temperatures = sorted({answer.temperature for answer in answers})
    for temperature in temperatures:
        some = {(a.prompt, a.sample): a for a in answers if a.temperature == temperature}
        samples = 1 + max(sample for _, sample in some)
        label = f"{model}-t{temperature:g}" if len(temperatures) > 1 else str(model)
        one = _One(prompts, some, samples, label)
        for suffix, text in _WRITERS[name](one):
            stem = f"t{temperature:g}{suffix}"
            replace(target / f"{stem}{'.json' if name == ALPACA_EVAL else '.jsonl'}", text, sync=False)
    return target


def _answer(one: _One, prompt: int, sample: int) -> Answer:
    try:
        return one.answers[prompt, sample]
    except KeyError:
        shown = as_text(one.prompts[prompt % len(one.prompts)].turns)[:60]
        raise Incomplete(
            f"no answer to instruction {prompt} ({shown!r}), which report.json counts as skipped, failed or not asked; "
            "a benchmark wants all: run the same command again, or make the prompt fit"
        ) from None


def _rows(one: _One, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Place of the prompt and what the format must know, a benchmark's row at a time."""
    for place, prompt in enumerate(one.prompts):
        yield from ((place, row) for row in prompt.rows if row["of"] == name)


def _by_sample(one: _One) -> Iterator[tuple[str, int]]:
    return ((f"-sample{sample}" if one.samples > 1 else "", sample) for sample in range(one.samples))


def _alpaca_eval(one: _One) -> Iterator[tuple[str, str]]:
    for suffix, sample in _by_sample(one):
        rows = []
        for place, row in _rows(one, ALPACA_EVAL):
            known = {name: row[name] for name in ("dataset", "instruction", "input") if name in row}
            asked = {"instruction": as_text(one.prompts[place].turns)} | known
            said = _answer(one, place, sample).answer
            rows.append({**asked, "output": said, "generator": f"{one.name}{suffix}"})
        yield suffix, json.dumps(rows, indent=1) + "\n"


def _ifeval(one: _One) -> Iterator[tuple[str, str]]:
    for suffix, sample in _by_sample(one):
        rows = (
            {
                "prompt": row.get("prompt", as_text(one.prompts[place].turns)),
                "response": _answer(one, place, sample).answer,
            }
            for place, row in _rows(one, IFEVAL)
        )
        yield suffix, "".join(json.dumps(row) + "\n" for row in rows)


def _mt_bench(one: _One) -> Iterator[tuple[str, str]]:
    lines = []
    for place, row in _rows(one, MT_BENCH):
        count = len(one.prompts)
        turns = range(1 + len(one.prompts[place].follow_ups))
        choices = [
            {"index": sample, "turns": [_answer(one, place + turn * count, sample).answer for turn in turns]}
            for sample in range(one.samples)
        ]
        about = {"question_id": row["question_id"], "model_id": one.name, "choices": choices}
        said = json.dumps(about, sort_keys=True)
        lines.append({"question_id": row["question_id"], "answer_id": uuid.uuid5(uuid.NAMESPACE_OID, said).hex,
                      "model_id": one.name, "choices": choices, "tstamp": EPOCH})  # fmt: skip
    yield "", "".join(json.dumps(line) + "\n" for line in lines)


_WRITERS: dict[str, Callable[[_One], Iterator[tuple[str, str]]]] = {
    ALPACA_EVAL: _alpaca_eval,
    IFEVAL: _ifeval,
    MT_BENCH: _mt_bench,
}
