"""The random state of a rank: every generator goes on where it was."""

import json
import random
from pathlib import Path

import numpy as np
import torch

from jpo_dist.distributed.rng import restore_rng, rng_state


def test_every_random_generator_continues_where_it_was() -> None:
    def draw() -> list[float]:
        normal = torch.randn(5).tolist()
        dropped = torch.nn.functional.dropout(torch.ones(20), 0.5).tolist()
        return [random.random(), random.gauss(0, 1), *np.random.rand(3), np.random.randn(), *normal, *dropped]

    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    draw()
    state = json.loads(json.dumps(rng_state() | {"torch": None, "cuda": None})) | {"torch": rng_state()["torch"]}
    before = draw()
    assert draw() != before
    restore_rng({"cuda": None} | state)
    assert draw() == before


def test_a_random_state_survives_the_pickle_that_loads_no_classes(tmp_path: Path) -> None:
    torch.save(rng_state(), tmp_path / "rng.pt")
    state = torch.load(tmp_path / "rng.pt", weights_only=True)
    expected = torch.rand(3)
    restore_rng(state)
    assert torch.equal(torch.rand(3), expected)
