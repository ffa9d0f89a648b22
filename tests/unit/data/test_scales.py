"""Which scores compare: places of a ranking within their row and nowhere else, scores of one kind alone."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.sections import DataConfig
from jpo_dist.data.build import Built, build, lines
from jpo_dist.data.collected import Preferences
from jpo_dist.data.config import BuildConfig, SourceConfig
from jpo_dist.data.examples import read_labelled
from jpo_dist.data.layouts import LAYOUTS, Layout
from jpo_dist.data.locate import open_place
from jpo_dist.data.read import collect, read
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating
from jpo_dist.records.folder import write_set
from jpo_dist.records.unbuilt import comparisons_of
from tests.support.rows import write_rows

OF_RESPONSES = [layout for layout in LAYOUTS if layout.example and layout.kind == "responses"]


def rankings(path: Path, rows: int, responses: int = 3) -> str:
    """Rows of responses, best first, whose instructions have the name of the folder in them."""
    path.parent.mkdir(exist_ok=True)
    name = path.parent.name
    found = [{"prompt": f"{name} {i}?", "responses": [f"{name}{i} {n}" for n in range(responses)]} for i in range(rows)]
    return write_rows(path, found)


def made(tmp_path: Path, sources: list[Any], **settings: Any) -> Built:
    whole = {"split": {"validation": 0.0, "test": 0.0}, "output": str(tmp_path / "out"), **settings}
    return build(BuildConfig.model_validate({"sources": sources, **whole}))


def read_all(files: list[str], name: str | None) -> list[Preferences]:
    found = [Preferences()]
    for file in files:
        [place] = open_place(file, [])
        found.append(Preferences(found[0].common))
        collect(place, SourceConfig(path=file, name=name), "error", found[-1])
    return found[1:]


def scales(part: Preferences, of_scores: str) -> set[str]:
    """Those of rankings."""
    return {rating.scale for rating in (*part.ratings, *part.pair_scores) if rating.scale} - {of_scores}


@pytest.mark.parametrize("name", [None, "mine"])
@pytest.mark.parametrize("layout", OF_RESPONSES, ids=lambda layout: layout.name)
def test_no_ranking_shares_its_scale_with_one_of_another_file(tmp_path: Path, layout: Layout, name: str | None) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    files = [write_rows(tmp_path / folder / "train.jsonl", list(layout.example)) for folder in ("a", "b")]
    first, second = read_all(files, name)
    one, two = scales(first, name or files[0]), scales(second, name or files[1])
    assert (len(one), one & two) == (len(two), set())
    assert all(scale.startswith(f"{name or 'train.jsonl'}:") for scale in one), "alone, it is called as ever"
    assert [rating.source for rating in first.ratings] == [rating.source for rating in second.ratings]


@pytest.mark.parametrize("policy", ["random", "balanced", "similar"])
@pytest.mark.parametrize("named", [False, True])
def test_rankings_of_files_of_one_name_make_no_joint_comparison(tmp_path: Path, policy: str, named: bool) -> None:
    files = [rankings(tmp_path / folder / "train.jsonl", 12) for folder in ("a", "b")]
    sources = [{"path": files, "name": "mine"}] if named else [{"path": file} for file in files]
    with pytest.raises(ValueError, match=r"no comparisons: 0 stated, 72 items with scores of 72"):
        made(tmp_path, sources, pairs=[{"policy": policy}])
    within = made(tmp_path, sources, pairs=[{"policy": "conditional"}]).comparisons
    assert (len(within), within.is_joint_C.any()) == (2 * 12 * 3, False)


def test_rankings_of_two_sets_make_no_joint_comparison_and_scores_of_theirs_do(tmp_path: Path) -> None:
    """Sets know the name of the file that they were built from, and it may be the same."""
    for folder in ("a", "b"):
        found, report = read(rankings(tmp_path / folder / "train.jsonl", 12), on_bad_row="error")
        scored = [Rating(Item.of(f"{folder} {n}?", f"answer {n}"), float(n), "round:1") for n in range(4)]
        pair = Comparison(scored[1].item, scored[0].item)
        write_set(ComparisonSet.build([pair], scored), tmp_path / f"scored-{folder}", report.as_dict())
        write_set(found, tmp_path / f"set-{folder}", report.as_dict())
    sets = [{"path": str(tmp_path / f"set-{folder}")} for folder in ("a", "b")]
    assert not made(tmp_path, sources=sets, pairs=[{"policy": "random"}]).comparisons.is_joint_C.any()
    beside = [sets[0], {"path": str(tmp_path / "b/train.jsonl")}]
    assert not made(tmp_path, sources=beside, pairs=[{"policy": "random"}]).comparisons.is_joint_C.any()
    scored = [{"path": str(tmp_path / f"scored-{folder}")} for folder in ("a", "b")]
    joint = made(tmp_path, sources=scored, pairs=[{"policy": "random"}]).comparisons
    assert joint.is_joint_C.any(), "these have named one scale"


def test_the_last_of_a_short_ranking_is_undesirable_beside_a_longer_one_of_that_name(tmp_path: Path) -> None:
    files = [rankings(tmp_path / "a/train.jsonl", 10, 2), rankings(tmp_path / "b/train.jsonl", 10, 4)]
    found, report = read_labelled(files, DataConfig(train=files))
    last = {f"{name}{i} {n}" for name, n in (("a", 1), ("b", 3)) for i in range(10)}
    labels = {item.response: bool(label) for item, label in zip(found.all_items(), found.desirable_C, strict=True)}
    assert {response for response, label in labels.items() if not label} == last
    assert report.left_out == {"neither first nor last of its ranking": 20}


def test_two_files_of_one_name_compare_as_each_alone_and_keep_their_sources(tmp_path: Path) -> None:
    files = [rankings(tmp_path / folder / "train.jsonl", 5) for folder in ("a", "b")]
    both, *alone = ([(c.winner.id, c.loser.id, c.source) for c in compared(one)] for one in (files, *files))
    assert sorted(both) == sorted(alone[0] + alone[1])
    assert {source for *_, source in both} == {f"train.jsonl:{line}" for line in range(1, 6)}


def compared(files: str | list[str]) -> list[Comparison]:
    return list(comparisons_of(read(files, on_bad_row="error")[0]))


# ---- two sources of one file


def attributes(path: Path) -> str:
    """Of each instruction a long response that helps and a short one that does not."""
    kinds = [("long", 4, 0, True), ("short", 1, 4, False)]
    return write_rows(
        path,
        [
            {"prompt": f"q{i}", "completion": f"{kind} {i}", "helpfulness": h, "verbosity": v, "label": good}
            for i in range(20)
            for kind, h, v, good in kinds
        ],
    )


def shorter(item: Item) -> float:
    """A checker."""
    return -float(len(item.response))


CHECKER = f"{__name__}:shorter"


def own(score: str) -> dict[str, Any]:
    return {"layout": {"instruction": "prompt", "response": "completion", "score": score}}


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        ({"score": "helpfulness"}, {"score": "verbosity"}, ("score: helpfulness", "score: verbosity")),
        ({"score": ["helpfulness", "verbosity"]}, {"score": "verbosity"}, ("helpfulness, verbosity", "verbosity")),
        ({"layout": "rating"}, {"score": "verbosity"}, ("score: that of its layout", "score: verbosity")),
        ({"columns": {"score": "helpfulness"}}, {"score": "verbosity"}, ("score: helpfulness", "score: verbosity")),
        ({"score": "helpfulness"}, {"layout": "thumbs"}, ("layout: rating", "layout: thumbs")),
        ({"score": "helpfulness"}, {"checker": CHECKER}, ("score: helpfulness", f"checker: {CHECKER}")),
        (own("helpfulness"), own("verbosity"), ("layout.score: helpfulness", "layout.score: verbosity")),
    ],
)
def test_scores_of_two_kinds_are_no_scale_unless_it_has_a_name(
    tmp_path: Path, one: dict[str, Any], two: dict[str, Any], told: tuple[str, str]
) -> None:
    path = attributes(tmp_path / "hs.jsonl")
    with pytest.raises(
        ValueError, match=r"sources.0 .*and sources.1 .*are both .*hs.jsonl.* give each a name"
    ) as caught:
        made(tmp_path, [{"path": path, **one}, {"path": path, **two}])
    assert all(text in str(caught.value) for text in told)
    apart = made(tmp_path, [{"path": path, **one, "name": "one"}, {"path": path, **two, "name": "two"}])
    alone = [made(tmp_path, [{"path": path, **each}]).comparisons for each in (one, two)]
    assert len(apart.comparisons) <= sum(map(len, alone))
    shared = made(tmp_path, [{"path": path, **one, "name": "x"}, {"path": path, **two, "name": "x"}])
    assert len(shared.comparisons) == 20, "one name says that they are of one scale"


def test_two_sources_of_one_file_that_mean_the_same_or_give_no_scores_are_as_they_were(tmp_path: Path) -> None:
    path = attributes(tmp_path / "hs.jsonl")
    same = [{"path": path, "score": "helpfulness"}, {"path": path, "columns": {"score": "helpfulness"}}]
    assert len(made(tmp_path, same).comparisons) == 20
    rows = [{"q": f"q{i}", "x": "A wren.", "y": "A spoon.", "nice": "x", "true": "y", "s": 3} for i in range(4)]
    both = {"instruction": "q", "a": "x", "b": "y"}
    file = write_rows(tmp_path / "v.jsonl", rows)
    verdicts = [
        {"path": file, "layout": {**both, "prefer": {"column": name, "a": "x", "b": "y"}}} for name in ("nice", "true")
    ]
    rated = {"path": file, "layout": {"instruction": "q", "response": "x", "score": "s"}}
    assert len(made(tmp_path, [*verdicts, rated]).comparisons) == 8


def test_a_build_names_the_files_that_it_has_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    for split in ("train", "test"):
        write_rows(folder / f"{split}.jsonl", [{"prompt": split, "chosen": "A wren.", "rejected": "A spoon."}])
    told = lines(made(tmp_path, [{"path": str(folder)}]).report)
    assert f"  not read: {folder / 'test.jsonl'}" in told
