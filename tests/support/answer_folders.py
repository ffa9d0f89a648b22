"""Folders of answers as `jpo generate` leaves them, from rows of a test."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jpo_dist.generate.answers import Answer
from jpo_dist.records.comparisons import Item


def answer(instruction: str, text: str, prompt: int, **more: Any) -> Answer:
    """An answer at temperature 0, sample 0, unless `more` says otherwise."""
    about = {"finished": True, "tokens": len(text.split()) + 1, "temperature": 0.0, "sample": 0, "seed": 0}
    about |= {"model": "tiny", "engine": "local"} | more
    return Answer(prompt, Item.of(instruction, "").instruction_id, instruction, text, **about)


def write_answers(folder: Path, answers: Iterable[Answer], parts: int = 2) -> str:
    """The folder, with the answers dealt out over its parts."""
    folder.mkdir(parents=True)
    rows = [json.dumps(one._asdict()) for one in answers]
    for part in range(parts):
        (folder / f"part-{part:05d}.jsonl").write_text("".join(f"{row}\n" for row in rows[part::parts]))
    return str(folder)


def write_gold(path: Path, pairs: Iterable[tuple[str, str]], column: str = "gold_response", **more: Any) -> str:
    """Gold responses under `column`, each row with `more`."""
    path.write_text("".join(json.dumps({"instruction": i, column: text, **more}) + "\n" for i, text in pairs))
    return str(path)
