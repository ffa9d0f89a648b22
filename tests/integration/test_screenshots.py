"""MLflow's pages in a real browser: each says what a person looks for, no chart of it is empty, none shows an id to
decode, and the pictures are those that docs/watching.md has."""

import re
from collections.abc import Iterator

import pytest

from tests.support.browser import Page, browser, find_chromium
from tests.support.commands import ROOT
from tests.support.pages_of_mlflow import (
    CHARTS,
    IMAGES,
    WIDTH,
    WORKFLOW,
    Made,
    Server,
    make_runs,
    mlflow_server,
    shots,
    take,
)

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium: apt-get install chromium"),
]
ID = re.compile(r"jpo\.(?:uid|key|input|dataset|checkpoint)")
FULLEST, ALL = 150_000, 1_200_000
"""Bytes of a picture, and of all."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture(scope="module")
def made(server: Server) -> Made:
    return make_runs(server)


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    with browser(server.folder) as opened:
        yield opened


def test_each_page_says_what_it_is_for_and_its_picture_is_made(made: Made, server: Server, page: Page) -> None:
    taken = {shot.name: take(page, server, shot) for shot in shots(made)}
    assert set(taken) == {file.stem for file in IMAGES.glob("*.png")}, "make screenshots"
    for name, (png, said) in taken.items():
        assert png.startswith(b"\x89PNG"), name
        assert len(png) < FULLEST, name
        assert not ID.search(said), name


def test_the_pictures_of_the_docs_are_small_and_shown() -> None:
    sizes = {file: file.stat().st_size for file in IMAGES.iterdir()}
    assert max(sizes.values()) < FULLEST
    assert sum(sizes.values()) < ALL
    text = (ROOT / "docs" / "watching.md").read_text(encoding="utf-8")
    assert {file.name for file in sizes} == set(re.findall(r"\]\(images/([\w.-]+)\)", text))
    assert f"`{CHARTS}`" in text, "what is looked for in the picture of charts"


def test_no_chart_of_a_run_is_empty_or_over_anything_but_its_steps(made: Made, server: Server, page: Page) -> None:
    """All of them, in a window as high as the page: MLflow draws what is in sight, and says how many a section has."""
    counted = "[...document.body.innerText.matchAll(/\\n\\((\\d+)\\)\\n/g)].reduce((sum, found) => sum + +found[1], 0)"
    for stage in ("sft", "jpo", "winrate"):
        page.size(WIDTH, 1_000)
        page.open(
            f"{server.address}/#/experiments/{made.experiment}/runs/{made.stages[stage]}/model-metrics?{WORKFLOW}"
        )
        page.wait_for("Model metrics", "Add chart")
        page.settle()
        page.size(WIDTH, page.run("Math.max(...[...document.querySelectorAll('*')].map(e => e.scrollHeight))") + 500)
        page.wait(f"document.querySelectorAll('.js-plotly-plot').length === {counted}", "all its charts")
        charts = page.run(
            "[...document.querySelectorAll('.js-plotly-plot')].map(plot => ({"
            " points: Math.max(0, ...plot.data.map(line => (line.x || []).length)),"
            " steps: plot.data.every(line => line.type === 'bar' || (line.x || []).every(Number.isInteger)),"
            " axis: ((plot.layout.xaxis || {}).title || {}).text || '' }))"
        )
        assert len(charts) > 5, stage
        assert min(chart["points"] for chart in charts) > 0, stage
        assert all(chart["steps"] for chart in charts), stage
        assert {chart["axis"] for chart in charts} <= {"Step", ""}, stage


def test_a_link_in_a_description_opens_its_run_as_a_training(made: Made, server: Server, page: Page) -> None:
    runs = f"{server.address}/#/experiments/{made.experiment}/runs"
    page.size(WIDTH, 900)
    page.open(f"{runs}/{made.stages['winrate']}?{WORKFLOW}")
    page.wait_for("Reads what these runs made", "win rate")
    link = page.run("[...document.querySelectorAll('a')].find(a => a.innerText.trim() === 'before').href")
    assert link == f"{runs}/{made.stages['before']}?{WORKFLOW}"
    page.open(link)
    page.wait_for("helpful before", "gave", "Logged models")  # which a page of agents does not have
    assert not ID.search(page.text)


def test_a_click_on_a_data_set_says_what_it_is_without_a_word_to_decode(made: Made, server: Server, page: Page) -> None:
    page.size(WIDTH, 900)
    page.open(f"{server.address}/#/experiments/{made.experiment}/runs/{made.stages['jpo']}?{WORKFLOW}")
    page.wait_for("Datasets", "train.jsonl")
    page.run("[...document.querySelectorAll('[role=button]')].find(e => /train.jsonl/.test(e.innerText)).click()")
    page.wait_for("Data details for", "mean tokens of an item", "winner's instruction")
    assert "{" not in page.text.partition("Data details for")[2].partition("Search fields")[0]


def test_no_page_of_a_run_is_left_running(made: Made, server: Server) -> None:
    from mlflow import MlflowClient

    runs = MlflowClient(server.address).search_runs([made.experiment])
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 1 + len(made.stages)
    assert all(run.data.tags.get("mlflow.user") and run.data.tags.get("mlflow.source.name") for run in runs)
