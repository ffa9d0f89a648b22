"""Which run a commit belongs to."""

import json
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jpo_dist.batches.prepare import prepare
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.config.sections import DataConfig, TrainConfig
from jpo_dist.train.identity import ResumeError, check_method, method_of, plan_identity
from jpo_dist.train.resume import restore
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer, comparisons, save_tiny

DATA = DataConfig(train="unused", template="### {instruction}\n>")


def setup_with(tokens: TokenizedItems | None = None, template: str = DATA.template) -> Any:
    data = DATA.model_copy(update={"template": template})
    dataset = prepare(byte_tokenizer(), comparisons(6), data, TrainConfig())
    dataset = dataset._replace(tokens=tokens or dataset.tokens)
    plan = SimpleNamespace(num_steps=3, comparisons_per_step=6)
    return SimpleNamespace(dataset=dataset, config=config_for("m", "d", "some/run"), plan=plan)


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
        restore(setup_with(), resumed, Path("anything"), {})


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"optim": {"lr": 0.5}}, ""),
    ({"model": {"path": "a copy"}}, ""),
    ({"model": {"path": "other"}}, r"was written with other weights than those of model\.path now; set it back"),
    ({"reference": {"path": "a copy"}}, ""),
    ({"reference": {"path": "other"}}, r"other weights than those of reference\.path now"),
    ({"objective": {"beta": 0.5}}, r"was written with objective\.beta=0\.1, now it is 0\.5; set it back"),
    ({"objective": {"loss": "davidson", "ties": "use"}}, r"objective\.loss=sigmoid, now it is davidson"),
    ({"objective": {"loss": "sigmoid_norm"}, "reference": {"mode": "none"}}, r"other weights than those of reference"),
    ({"model": {"lora": {"rank": 0}}, "reference": {"refresh_every": 3}}, r"model\.lora\.rank=2, now it is 0"),
    ({"model": {"lora": {"rank": 4}}}, r"model\.lora\.rank=2, now it is 4"),
    ({"model": {"lora": {"rank": 2, "merge_on_export": True}}}, ""),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_commit_goes_on_from_the_same_weights_by_the_same_objective_only(
    change: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed loads an adapter into any base that it fits, and a reference is in no commit at all."""
    for name, seed in (("model", 0), ("a copy", 0), ("other", 1)):
        save_tiny(tmp_path / name, seed=seed)
    monkeypatch.chdir(tmp_path)
    model = {"path": "model", "dtype": "float32", "lora": {"rank": 2}}
    first = config_for("unused", "d", "some/run", model=model)
    now = config_for("unused", "d", "some/run", **{**change, "model": model | change.get("model", {})})
    state = {"step": 4, "method": json.loads(json.dumps(method_of(first)))}
    resumed: Any = SimpleNamespace(facts={"state": state}, step=4)
    with pytest.raises(ResumeError, match=said) if said else nullcontext():
        check_method(resumed, method_of(now), now)


def test_a_setting_that_came_later_had_its_default_in_commits_of_earlier_versions(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    now = config_for(model, "d", "some/run")
    later = ("objective.similarity", "reference.refresh")
    of_then = {key: value for key, value in method_of(now).items() if not key.startswith(later)}
    resumed: Any = SimpleNamespace(facts={"state": {"step": 4, "method": of_then}}, step=4)
    check_method(resumed, method_of(now), now)
    weighted = config_for(model, "d", "some/run", objective={"similarity": "outside"})
    with pytest.raises(ResumeError, match=r"objective\.similarity=none, now it is outside"):
        check_method(resumed, method_of(weighted), weighted)
    moving = config_for(model, "d", "some/run", reference={"refresh_every": 3})
    with pytest.raises(ResumeError, match=r"reference\.refresh_every=0, now it is 3"):
        check_method(resumed, method_of(moving), moving)


def test_commits_of_earlier_versions_say_nothing_of_their_method(tmp_path: Path) -> None:
    config = config_for(save_tiny(tmp_path / "model"), "d", "some/run")
    check_method(SimpleNamespace(facts={"state": {"step": 4}}, step=4), method_of(config), config)  # type: ignore[arg-type]
