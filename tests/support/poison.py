"""Losses that are not finite, on order. The poison is one character.

The policy's embedding of `~` is infinite, so exactly the steps with a `~` are not finite; the reference is a sound
model.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.sections import TrainConfig
from jpo_dist.data import read
from tests.support.commands import Files

POISON = "~"


def poison_model(files: Files) -> Files:
    """The same files with a policy that `~` poisons; the model that was there is in the folder `sound` beside it."""
    sound, model = files.folder / "sound", Path(files.model)
    model.rename(sound)
    model.mkdir()
    for path in sound.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    weights = load_file(model / "model.safetensors")
    vocabulary = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]
    weights["model.embed_tokens.weight"][vocabulary[POISON]] = float("inf")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    return files


def with_poison(files: Files, *rows: int) -> str:
    """The training file with a `~` in the winner's response of these comparisons."""
    lines = [json.loads(line) for line in Path(files.train).read_text().splitlines()]
    for row in rows or range(len(lines)):
        lines[row]["r_chosen"] += POISON
    target = files.folder / f"poison-{'-'.join(map(str, rows)) or 'all'}.jsonl"
    target.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(target)


def comparison_of_step(files: Files, step: int) -> int:
    """A row of the training file that is in this step."""
    found, _ = read.read(files.train, on_bad_row="error")
    train = TrainConfig(comparisons_per_step=8, seed=0)
    plan = make_plan(Prepared.of_lengths(found, np.ones(found.num_items, np.int64)), train, 1)
    return int(plan.step(step - 1).comparisons_C[0])
