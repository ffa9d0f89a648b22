"""Which run a commit belongs to."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jpo_dist.config import DataConfig, TrainConfig
from jpo_dist.prepare import prepare
from jpo_dist.resume import ResumeError, plan_identity, restore
from jpo_dist.tokenize import TokenizedItems
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer, comparisons

DATA = DataConfig(train="unused", template="### {instruction}\n>")


def setup_with(tokens: TokenizedItems | None = None, template: str = DATA.template) -> Any:
    data = DATA.model_copy(update={"template": template})
    dataset = prepare(byte_tokenizer(), comparisons(6), data, TrainConfig())
    dataset = dataset._replace(tokens=tokens or dataset.tokens)
    return SimpleNamespace(dataset=dataset, config=config_for("m", "d", "some/run"), plan=SimpleNamespace(num_steps=3))


def test_the_same_tokens_are_the_same_run_however_they_are_kept(tmp_path: Path) -> None:
    tokens = setup_with().dataset.tokens
    np.save(tmp_path / "ids.npy", tokens.ids_T)
    mapped = TokenizedItems(np.load(tmp_path / "ids.npy", mmap_mode="r"), tokens.offsets, tokens.instruction_lengths_N)
    wide = TokenizedItems(tokens.ids_T.astype(np.int64), tokens.offsets, tokens.instruction_lengths_N.astype(np.int32))
    whole = tokens.take(np.arange(len(tokens)))
    assert {plan_identity(setup_with(t)) for t in (tokens, mapped, wide, whole)} == {plan_identity(setup_with())}


def test_other_tokens_are_another_run_though_as_many() -> None:
    """Another tokenizer, another template of the same length, the boundary elsewhere."""
    tokens = setup_with().dataset.tokens
    boundary = TokenizedItems(tokens.ids_T, tokens.offsets, tokens.instruction_lengths_N - 1)
    offsets = tokens.offsets.copy()
    offsets[1] += 1
    cut = TokenizedItems(tokens.ids_T, offsets, tokens.instruction_lengths_N)
    others = [setup_with(template="### {instruction}\n:"), setup_with(boundary), setup_with(cut)]
    assert len({plan_identity(setup) for setup in (setup_with(), *others)}) == 4


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            "0123456789abcdef" * 2,
            r"at step 4 whose commits do not say which tokens.*an earlier version.*another run\.dir",
        ),
        ("tokens:" + "0123456789abcdef" * 2, r"at step 4 over other data, template.*another run\.dir"),
    ],
)
def test_a_commit_of_another_run_is_refused_and_so_is_one_that_cannot_tell(plan: str, said: str) -> None:
    resumed: Any = SimpleNamespace(facts={"state": {"step": 4, "plan": plan}})
    with pytest.raises(ResumeError, match=said):
        restore(setup_with(), resumed, Path("anything"))
