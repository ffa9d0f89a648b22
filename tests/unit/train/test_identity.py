"""Which run a commit belongs to."""

import json
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jpo_dist.batches.prepare import prepare
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.config.sections import DataConfig, TrainConfig
from jpo_dist.records.comparisons import ComparisonSet, digest
from jpo_dist.records.contents import contents_of
from jpo_dist.train.identity import ResumeError, TrainState, began, check_method, check_plan, method_of
from jpo_dist.train.resume import restore
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer, comparisons, save_tiny

DATA = DataConfig(train="unused", template="### {instruction}\n>")


def setup_with(
    tokens: TokenizedItems | None = None,
    template: str = DATA.template,
    read: ComparisonSet | None = None,
    steps: int = 3,
    **sections: Any,
) -> Any:
    data = DATA.model_copy(update={"template": template})
    dataset = prepare(byte_tokenizer(), read or comparisons(6), data, TrainConfig())
    dataset = dataset._replace(tokens=tokens or dataset.tokens)
    config = config_for(
        "m", "d", "some/run", **{**sections, "data": {"template": template, **sections.get("data", {})}}
    )
    return SimpleNamespace(
        dataset=dataset, config=config, plan=SimpleNamespace(num_steps=steps, comparisons_per_step=6)
    )


def refusal(then: Any, now: Any) -> str | None:
    """What a start with `now` says of a commit that `then` wrote; None: it goes on."""
    written = TrainState(**json.loads(json.dumps(asdict(replace(began(then, {}), step=4)))))
    try:
        check_plan(written, began(now, {}), now)
    except ResumeError as error:
        return str(error)
    return None


def plan_of(setup: Any) -> str:
    return began(setup, {}).plan


def test_the_same_tokens_are_the_same_run_however_they_are_kept(tmp_path: Path) -> None:
    tokens = setup_with().dataset.tokens
    np.save(tmp_path / "ids.npy", tokens.ids_T)
    mapped = TokenizedItems(np.load(tmp_path / "ids.npy", mmap_mode="r"), tokens.offsets, tokens.instruction_lengths_N)
    wide = TokenizedItems(tokens.ids_T.astype(np.int64), tokens.offsets, tokens.instruction_lengths_N.astype(np.int32))
    whole = tokens.take(np.arange(len(tokens)))
    assert {plan_of(setup_with(t)) for t in (tokens, mapped, wide, whole)} == {plan_of(setup_with())}


def test_other_tokens_are_another_run_though_as_many() -> None:
    """Another tokenizer, another template of the same length, the boundary elsewhere."""
    tokens = setup_with().dataset.tokens
    boundary = TokenizedItems(tokens.ids_T, tokens.offsets, tokens.instruction_lengths_N - 1)
    offsets = tokens.offsets.copy()
    offsets[1] += 1
    cut = TokenizedItems(tokens.ids_T, offsets, tokens.instruction_lengths_N)
    others = [setup_with(template="### {instruction}\n:"), setup_with(boundary), setup_with(cut)]
    assert len({plan_of(setup) for setup in (setup_with(), *others)}) == 4


def renamed(read: ComparisonSet, name: str) -> ComparisonSet:
    sources = pa.array([f"{name}:{line}" for line in range(1, len(read) + 1)])
    column = read.comparisons.schema.get_field_index("source")
    return ComparisonSet(read.items, read.comparisons.set_column(column, "source", sources))


def test_a_renamed_file_of_the_same_contents_is_the_same_run() -> None:
    then, now = (setup_with(read=renamed(comparisons(6), name)) for name in ("train.jsonl", "moved.jsonl"))
    assert then.dataset.comparisons.fingerprint != now.dataset.comparisons.fingerprint, "sets know their files"
    assert refusal(then, now) is None


def edited(**columns: list[Any]) -> ComparisonSet:
    read = comparisons(6)
    table = read.comparisons
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(values, table.schema.field(name).type))
    return ComparisonSet(read.items, table)


def in_another_order() -> ComparisonSet:
    read = comparisons(6)
    return ComparisonSet(read.items, read.comparisons.take(pa.array([1, 0, 2, 3, 4, 5])))


OTHER_RUNS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "steps": ({"steps": 5, "train": {"max_steps": 5}}, ("train.max_steps: null then, 5 now", "steps: 3 then, 5 now")),
    "seed": ({"train": {"seed": 7}}, ("train.seed: 0 then, 7 now",)),
    "shuffle": ({"train": {"shuffle": False}}, ("train.shuffle: true then, false now",)),
    "sampling": ({"train": {"sample_by": "group"}}, ("train.sample_by: comparison then, group now",)),
    "more rows": ({"read": comparisons(7)}, ("6 comparisons of 12 items", "7 comparisons of 14 items", "tokens: 278")),
    "a weight": ({"read": edited(weight=[1, 2, 1, 2, 1, 9])}, ("contents of data.train: 6 comparisons of 12 items",)),
    "a tie": ({"read": edited(tie=[True, *[False] * 5])}, ("contents of data.train: 6 comparisons",)),
    "an order": ({"read": in_another_order()}, ("order of data.train: digest ",)),
    "a template": ({"template": "### {instruction}\n:"}, (r'data.template: "### {instruction}\n>" then, "### ',)),
    "a limit": ({"data": {"max_length": 70}, "steps": 2}, ("data.max_length: 1024 then, 70 now", "steps: 3 then, 2")),
}


@pytest.mark.parametrize(("change", "said"), OTHER_RUNS.values(), ids=OTHER_RUNS)
def test_a_refusal_names_what_differs_with_both_values(change: dict[str, Any], said: tuple[str, ...]) -> None:
    refused = refusal(setup_with(), setup_with(**change))
    assert refused is not None
    assert refused.startswith("run.dir (some/run) holds a run at step 4, which began otherwise: ")
    assert refused.endswith("; set it back, or use another run.dir")
    assert [words for words in said if words not in refused] == [], refused
    assert "\n" not in refused
    assert ("order of data.train" in refused) == (change.get("read") is not None and "order" in said[0])
    assert ("train.seed" in refused) == ("train.seed" in said[0]), "what is equal is not named"


def test_rows_in_another_order_have_equal_contents() -> None:
    then, now = comparisons(6), in_another_order()
    assert contents_of(then).any_order == contents_of(now).any_order
    assert contents_of(then).in_order != contents_of(now).in_order


def test_a_setting_that_changes_nothing_that_is_read_is_no_other_run() -> None:
    assert refusal(setup_with(), setup_with(data={"max_length": 2000}, train={"max_steps": 3})) is None


EARLIER = "an earlier version wrote it, and noted no more"


def test_commits_of_earlier_versions_go_on_and_take_the_new_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity as it was: digest of fingerprint, tokens, order."""
    setup = setup_with()
    order = [6, True, "comparison", 0, 3]
    plan = "tokens:" + digest([setup.dataset.comparisons.fingerprint, setup.dataset.tokens.contents(), order])
    check_plan(TrainState(step=4, plan=plan), began(setup, {}), setup)
    other = setup_with(read=renamed(comparisons(6), "moved.jsonl"))
    with pytest.raises(ResumeError, match=rf"at step 4 over other data, other names of their files.*{EARLIER}"):
        check_plan(TrainState(step=4, plan=plan), began(other, {}), other)


def test_of_an_earlier_versions_run_plan_json_tells_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some/run").mkdir(parents=True)
    Path("some/run/plan.json").write_text(json.dumps({"num_steps": 9, "items": 12, "hosts": 1}))
    setup = setup_with()
    with pytest.raises(ResumeError, match=rf"\(num_steps: 9 then, 3 now; {EARLIER}\)"):
        check_plan(TrainState(step=4, plan="tokens:" + "0" * 32), began(setup, {}), setup)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (
            "0123456789abcdef" * 2,
            r"at step 4 whose commits do not say which tokens.*an earlier version.*another run\.dir",
        ),
        ("tokens:" + "0123456789abcdef" * 2, r"at step 4 over other data, .*another run\.dir"),
        (
            "contents:" + "0123456789abcdef" * 2,
            r"at step 4, which began otherwise: data\.template: null then.*another run\.dir",
        ),
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
    (
        {"model": {"path": "other"}},
        r"with other weights than those of model\.path now \(digest \w{32}, now \w{32}\); set it back",
    ),
    ({"reference": {"path": "a copy"}}, ""),
    ({"reference": {"path": "other"}}, r"other weights than those of reference\.path now"),
    ({"objective": {"beta": 0.5}}, r"was written with objective\.beta=0\.1, now it is 0\.5; set it back"),
    ({"objective": {"loss": "davidson", "ties": "use"}}, r"objective\.loss=sigmoid, now it is davidson"),
    ({"objective": {"loss": "sigmoid_norm"}, "reference": {"mode": "none"}}, r"other weights than those of reference"),
    ({"model": {"lora": {"rank": 0}}, "reference": {"refresh_every": 3}}, r"model\.lora\.rank=2, now it is 0"),
    ({"model": {"lora": {"rank": 4}}}, r"model\.lora\.rank=2, now it is 4"),
    ({"model": {"lora": {"rank": 2, "merge_on_export": True}}}, ""),
    ({"optim": {"weight_decay": 0.1}}, r"optim\.weight_decay=0, now it is above 0; set it back"),
    ({"optim": {"betas": [0.5, 0.6], "eps": 1e-6}}, ""),
    ({"model": {"dtype": "bfloat16"}}, r"model\.dtype=float32, now it is bfloat16"),
    (
        {"objective": {"beta": 0.5, "sft_weight": 1}},
        r"beta=0\.1, now it is 0\.5; and with objective\.sft_weight=0\.0, now",
    ),
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


def test_what_adapters_would_be_is_no_matter_without_one(tmp_path: Path) -> None:
    model = {"path": save_tiny(tmp_path / "model"), "dtype": "float32"}
    first, now = (
        config_for("unused", "d", "some/run", model={**model, "lora": lora})
        for lora in ({"rank": 0}, {"rank": 0, "alpha": 8.0, "target_modules": ["q_proj"]})
    )
    of_an_earlier_version = {**method_of(first), "model.lora.alpha": 16.0, "model.lora.target_modules": "all-linear"}
    for method in (method_of(first), of_an_earlier_version):
        resumed: Any = SimpleNamespace(facts={"state": {"step": 4, "method": method}}, step=4)
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
