"""`jpo score` says what the Python API and an evaluation say, on any number of ranks, with any kind of reference."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

import jpo_dist as jpo
from jpo_dist.batches.prepare import OverLongError
from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import LoraConfig, TokensConfig
from jpo_dist.evaluate.evaluation import evaluate_policy
from jpo_dist.evaluate.score import Scored, report_on, score_policy, sigmoid
from jpo_dist.files import read_json
from jpo_dist.model.adapter import add_adapter
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.folder import write_set
from jpo_dist.records.unbuilt import comparisons_of
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.templates import KINDS, ONE, SYSTEM, compared
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons, save_tiny, write_jsonl

pytestmark = pytest.mark.slow

MOST = 150
FLOATS = ("log_pi_instruction", "log_pi_response", "log_ref_instruction", "log_ref_response", "reward")
MARGINS = ("z_instruction", "z_response", "z", "beta_z", "probability")


class Files:
    """Two models, an adapter of the first with its merged twin, and a set with ties and an over-long item."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reference, self.policy = save_tiny(folder / "reference"), save_tiny(folder / "policy", seed=1)
        self.adapter, self.merged = str(folder / "adapter"), save_tiny(folder / "merged")
        model = AutoModelForCausalLM.from_pretrained(self.reference)
        adapted: Any = add_adapter(model, LoraConfig(rank=2, alpha=8.0))
        torch.manual_seed(3)
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        adapted.save_pretrained(self.adapter)
        adapted.merge_and_unload().save_pretrained(self.merged)
        self.decided = comparisons(14)
        made = list(comparisons_of(self.decided))
        made.insert(3, Comparison(Item.of("say 1", "a tie"), Item.of("tell 9", "of two"), tie=True))
        made.insert(5, Comparison(Item.of("say 1", "long " * 40), made[0].loser))
        self.whole = ComparisonSet.build(made)
        write_set(self.decided, folder / "decided")
        write_set(self.whole, folder / "whole")

    def score(self, ranks: int, name: str, policy: str = "", **sections: Any) -> dict[str, Any]:
        run_ranks(score_here, ranks, self, name, policy or self.policy, sections, group=False)
        return read_json(self.folder / name / "report.json")

    def table(self, name: str, kind: str) -> pa.Table:
        return pq.read_table(self.folder / name / f"{kind}.parquet")


def score_here(files: Files, name: str, policy: str, sections: dict[str, Any]) -> None:
    where = str(files.folder / "whole")
    given = sections | {"data": {"max_length": MOST, **sections.get("data", {})}}
    config = config_for(files.reference, where, files.folder / "run", **given)
    config = config.model_copy(update={"reference": config.reference.model_copy(update={"tokens_per_pass": 200})})
    score_policy(config, where, policy, str(files.folder / name), 100)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("scores"))


@pytest.fixture(scope="module")
def report(files: Files) -> dict[str, Any]:
    return files.score(1, "one")


def columns(table: pa.Table, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([table[name].to_numpy().astype(float) for name in names])


def test_counts_add_up_and_rows_are_those_of_the_set(files: Files, report: dict[str, Any]) -> None:
    items, margins = files.table("one", "items"), files.table("one", "margins")
    assert items["id"].equals(files.whole.items["id"])
    assert margins.select(["winner", "loser", "tie", "protocol"]).equals(
        files.whole.comparisons.select(["winner", "loser", "tie", "protocol"])
    )
    size = files.whole.num_items
    assert report["items"] == {"items": size, "scored": size - 1, "over_long": 1, "cut": 0}
    (named,) = report["over_long_items"]
    assert items["response"][named["item"]].as_py() == "long " * 40
    assert named["tokens"] == items["tokens"][named["item"]].as_py() > MOST
    assert report["comparisons"] == {"comparisons": 16, "scored": 14, "ties": 1, "over_long": 1}
    assert [items[name].null_count for name in FLOATS] == [1] * 5
    assert [margins[name].null_count for name in MARGINS] == [1] * 5
    assert report["margins"]["all"]["comparisons"] == 14


def test_scores_are_those_of_the_python_api(files: Files, report: dict[str, Any]) -> None:
    kept = files.table("one", "items").filter(pa.compute.is_valid(files.table("one", "items")["reward"]))
    items = [item for item in files.whole.all_items() if len(item.response) < MOST]
    found = []
    for folder in (files.policy, files.reference):
        model, tokenizer = jpo.load(folder, dtype="float32")
        found.append(jpo.log_probs(model, tokenizer, items, template=PLAIN, tokens_per_pass=200).numpy())
    np.testing.assert_allclose(columns(kept, FLOATS[:4]).T, np.concatenate(found, axis=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(kept["reward"].to_numpy(), (found[0] - found[1]).sum(1), rtol=0, atol=1e-9)


def test_margins_are_those_of_an_evaluation_of_the_same_comparisons(files: Files, report: dict[str, Any]) -> None:
    (evaluation,) = run_ranks(evaluated, 1, files, group=False)
    table = files.table("one", "margins")
    decided = table.filter(pa.compute.and_(pa.compute.is_valid(table["z"]), pa.compute.invert(table["tie"])))
    values = columns(decided, MARGINS)
    for part, of_part in (("all", slice(None)), ("joint", decided["protocol"].to_numpy(False) == "joint")):
        z_instruction, z_response, z, beta_z, p = values[:, of_part]
        expected = {name: value[0] for name, value in evaluation[part].items() if isinstance(value, list)}
        assert beta_z.mean() == pytest.approx(expected["rewards/margins"], abs=1e-5)
        assert z_instruction.mean() == pytest.approx(expected["margin/instruction"], abs=1e-4)
        assert z_response.mean() == pytest.approx(expected["margin/response"], abs=1e-4)
        assert -np.log(p).mean() == pytest.approx(expected["loss"], abs=1e-5)
        assert (z > 0).mean() == expected["rewards/accuracies"] == report["margins"][part]["accuracy"][0]
    rewards = files.table("one", "items")["reward"].to_numpy()
    winners, losers = (decided[name].to_numpy() for name in ("winner", "loser"))
    np.testing.assert_allclose(values[2], rewards[winners] - rewards[losers], atol=1e-12)


def evaluated(files: Files) -> Any:
    where = str(files.folder / "decided")
    config = config_for(files.reference, where, files.folder / "evaluated", data={"validation": where})
    return evaluate_policy(config, files.policy, None, 8, 100)["comparisons"]


def test_two_ranks_give_the_same_bits(files: Files, report: dict[str, Any]) -> None:
    assert files.score(2, "two") == report
    for kind in ("items", "margins"):
        assert files.table("two", kind).equals(files.table("one", kind))


def test_a_cached_reference_gives_the_same(files: Files, report: dict[str, Any]) -> None:
    files.score(1, "cached", reference={"mode": "cached", "cache_dir": str(files.folder / "cache")})
    for kind, names in (("items", FLOATS), ("margins", MARGINS)):
        np.testing.assert_allclose(
            columns(files.table("cached", kind), names), columns(files.table("one", kind), names), atol=2e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_an_adapter_with_itself_switched_off_is_its_merged_model_against_the_base(files: Files, ranks: int) -> None:
    files.score(1, "merged", files.merged)
    lora = {"model": {"lora": {"rank": 2, "alpha": 8.0}}, "reference": {"mode": "adapter_off"}}
    files.score(ranks, "adapter", files.adapter, **lora)
    merged, adapter = (columns(files.table(name, "margins"), MARGINS) for name in ("merged", "adapter"))
    np.testing.assert_allclose(adapter, merged, atol=2e-3)
    assert np.nanmax(np.abs(merged[2])) > 1, "the adapter does nothing"
    bases = [columns(files.table(name, "items"), FLOATS[2:4]) for name in ("one", "adapter")]
    np.testing.assert_allclose(*bases, atol=1e-4)


def test_a_policy_that_is_the_reference_has_rewards_of_zero(files: Files) -> None:
    report = files.score(1, "same", files.reference)
    assert report["margins"]["all"]["z"] == [0.0, 0.0, 0.0]
    assert report["policy_digest"] == report["reference"]["digest"]


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_allclose(sigmoid(np.array([-800.0, 0.0, 800.0])), [0.0, 0.5, 1.0])
    x = np.linspace(-30, 30, 61)
    np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), rtol=1e-14)


def test_items_that_a_chat_template_refuses_are_counted_apart() -> None:
    made = compared(ONE, SYSTEM, Item.of("b", "c"))
    settings = TokensConfig(max_length=20)
    tokens = tokenize(KINDS["gemma"].tokenizer(), made.all_items(), settings)
    assert list(tokens.refused) == [2, 3]
    none = np.array([row in (2, 3, 5) for row in range(6)])  # the last one is over-long
    scores_N2 = np.where(none[:, None], np.nan, 1.0) * np.ones((6, 2))
    report = report_on(made, tokens, Scored(scores_N2, 2 * scores_N2), ObjectiveConfig())
    assert report["items"] == {"items": 6, "scored": 3, "over_long": 1, "cut": 0, "refused": 2}
    assert report["comparisons"] == {"comparisons": 3, "scored": 1, "ties": 0, "over_long": 1, "refused": 1}
    assert [one["item"] for one in report["over_long_items"]] == [5]


def test_over_long_items_and_log_probs_that_are_not_finite_are_errors(files: Files) -> None:
    model = AutoModelForCausalLM.from_pretrained(files.policy)
    with torch.no_grad():
        model.get_input_embeddings().weight[byte_tokenizer()("w")["input_ids"][-1]] = torch.nan
    broken = save_tiny(files.folder / "broken")
    model.save_pretrained(broken)
    run_ranks(refused_here, 1, files, broken, group=False)
    assert not (files.folder / "none").exists()


def refused_here(files: Files, broken: str) -> None:
    with pytest.raises(OverLongError, match=r"data.max_length \(150\) is less than 1 of"):
        score_here(files, "none", files.policy, {"data": {"over_long": "error"}})
    with pytest.raises(
        ValueError, match=r"1 of \d+ items have log-probs .* not finite under score.policy \(.*broken\)"
    ):
        score_here(files, "none", broken, {})
    pair = write_jsonl(files.folder / "pair.jsonl", ComparisonSet.build([Comparison(Item.of("say", "who"), ONE)]))
    config = config_for(files.reference, pair, files.folder / "run", data={"validation": pair})
    with pytest.raises(ValueError, match=r"1 of 1 comparisons have .* under evaluate.policy \(.*broken\) or its refe"):
        evaluate_policy(config, broken, None, 8, 100)
