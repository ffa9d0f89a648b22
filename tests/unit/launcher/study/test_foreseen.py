"""What a dry run says of trainings that have not run: as `jpo plan` says it of the same training."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.load import parse_as
from jpo_dist.data.build import build, write
from jpo_dist.estimate.hardware import DEVICES
from launcher.config.kinds import RunConfig
from launcher.config.study import StudyConfig
from launcher.stages.plan import Options, plan
from launcher.study.beforehand import dry
from launcher.study.cells import cells, unique
from launcher.study.foreseen import foreseen
from tests.support.commands import Files, tiny_files
from tests.unit.launcher.study.test_cells import ALONE, CHECKER

STEPS = 6


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return tiny_files(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stated device: the speed of this one is measured anew each time."""
    monkeypatch.setattr("launcher.stages.plan.device_of", lambda *_: DEVICES["h100"])


def study(tiny: Files, folder: Path, **settings: Any) -> StudyConfig:
    own = json.loads(Path(tiny.config).read_text())
    train = {
        **own,
        "train": {**own["train"], "seed": "$seed"},
        "data": {**own["data"], "train": "@build:train", "validation_fraction": 0},
    }
    del train["run"], train["data"]["validation"]
    train["data"]["validation_fraction"] = 0
    longer = {**train, "train": {**train["train"], "max_steps": 3 * STEPS}}
    return parse_as(StudyConfig, {
        "dir": str(folder / "out"), "seeds": [1, 2], "shared": {"cluster": {"workers": 0}},
        "question": {"answers": "answers", "checker": CHECKER, "compare": [["jpo", "longer"]]},
        "stages": [{"build": {"sources": [{"path": tiny.train}], "split": {"validation": 0, "test": 0}}}],
        "arms": {"jpo": [{"train": train}], "longer": [{"train": longer}]},
        "measure": [{"name": "answers", "generate": {"model": {"path": "@policy"}, "instructions": tiny.train}}],
        **settings,
    }, "study.yaml")  # fmt: skip


def by_plan(config: StudyConfig, folder: Path) -> dict[str, Any]:
    """What `jpo plan` says of the first training, on the set as it is built."""
    stages = {stage.name: stage for stage in cells(config, "study.yaml", {})[0].stages}
    built = stages["build"].kind.config.model_validate(stages["build"].settings)
    write(build(built), folder / "set")  # type: ignore[arg-type]
    own = stages["train"].settings
    settings = {**own, "data": {**own["data"], "train": f"{folder / 'set'}:train"}}
    return plan(RunConfig.model_validate(settings), Options(None, None, None, None))


def test_a_training_whose_set_is_not_built_takes_what_jpo_plan_says(tiny: Files, tmp_path: Path) -> None:
    config = study(tiny, tmp_path)
    step = by_plan(config, tmp_path)["time"]["seconds_per_step"]
    found = unique(cells(config, "study.yaml", {}))
    told = foreseen(cells(config, "study.yaml", {}), found)
    steps = {folder: stage.settings["train"]["max_steps"] for folder, stage in found.items() if stage.kind.trains}
    assert sorted(steps.values()) == [STEPS, STEPS, 3 * STEPS, 3 * STEPS]
    assert {folder: one.seconds for folder, one in told.items()} == pytest.approx(
        {folder: count * step for folder, count in steps.items()}
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".digests.json"], "nothing was built there"


def test_without_max_steps_its_set_tells_how_many_steps_there_are(tiny: Files, tmp_path: Path) -> None:
    config = study(tiny, tmp_path)
    train = config.arms["jpo"][0]["train"]
    by_epochs = {**train, "train": {**train["train"], "max_steps": None, "epochs": 2}}
    config = study(tiny, tmp_path, arms={"jpo": [{"train": by_epochs}]}, question=ALONE)
    step = by_plan(config, tmp_path)["time"]["seconds_per_step"]
    found = cells(config, "study.yaml", {})
    told = foreseen(found, unique(found))
    steps = 2 * -(-len(Path(tiny.train).read_text().splitlines()) // 8)
    assert [one.seconds for one in told.values()] == pytest.approx([steps * step] * 2)


def test_the_dry_run_adds_them_up_and_names_what_is_not_known(tiny: Files, tmp_path: Path) -> None:
    config = study(tiny, tmp_path)
    found = cells(config, "study.yaml", {})
    told = foreseen(found, unique(found))
    hours, most = sum(one.seconds for one in told.values()) / 3600, max(one.bytes for one in told.values())
    said = dry(config, "study.yaml")
    assert said.notes[1] == (
        f"Left, 1 at once: {hours:.1f} hours and {most / 1e9:.1f} GB, by `jpo plan` (train: a floor, without start and "
        "evaluation)."
    )
    assert said.notes[2] == "Time and disk are not known before one of each is done: build, answers."
    kept = dry(study(tiny, tmp_path, keep_models=True), "study.yaml")
    assert f"{4 * most / 1e9:.1f} GB" in kept.notes[1]


@pytest.mark.parametrize("data", ["@answers", "nowhere.jsonl"])
def test_a_training_on_what_is_not_there_yet_is_not_told(tiny: Files, tmp_path: Path, data: str) -> None:
    generate = {"name": "answers", "generate": {"model": {"path": tiny.model}, "instructions": tiny.train}}
    build = {"build": {"sources": [{"path": data}]}}
    measure = [{"name": "own", "generate": {"model": {"path": "@policy"}, "instructions": tiny.train}}]
    question = {"answers": "own", "checker": CHECKER, "compare": []}
    config = study(tiny, tmp_path, stages=[generate, build], measure=measure, question=question)
    found = cells(config, "study.yaml", {})
    assert foreseen(found, unique(found)) == {}
