"""Items collapse, comparisons do not; ids and splits depend on text alone."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message, digest
from jpo_dist.records.folder import read_set, write_set
from jpo_dist.records.split import split_by_instruction

PEAR, BRICK = Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick.")
BLUE, RED = Item.of("Name a color.", "Blue."), Item.of("Name a color.", "Red.")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
items = st.builds(Item.of, st.sampled_from("abcdefgh"), st.sampled_from(["yes", "no", "", "🍐"]))
edges = st.lists(st.builds(Comparison, items, items, st.floats(0.1, 9.0), st.sampled_from(["", "f:1"])), max_size=40)


def content(comparisons: ComparisonSet) -> list[Comparison]:
    """The comparisons as they were before they became tables."""
    sources = comparisons.comparisons["source"].to_pylist()
    rows = zip(comparisons.winners_C, comparisons.losers_C, comparisons.weights_C, sources, strict=True)
    items = comparisons.all_items()
    return [Comparison(items[w], items[v], weight, source) for w, v, weight, source in rows]


def instructions(comparisons: ComparisonSet) -> set[str]:
    return {item.instruction_id for item in comparisons.all_items()}


def test_digest_is_the_first_half_of_sha256_over_canonical_json():
    text = '["Où?",{"a":1,"b":null}]'
    assert digest(["Où?", {"b": None, "a": 1}]) == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_ids_do_not_move_between_versions():
    """Caches and splits are keyed by these."""
    assert PEAR.id == hashlib.sha256(b'[[["user","Name a fruit."]],"A pear."]').hexdigest()[:32]
    assert PEAR.instruction_id == hashlib.sha256(b'[["user","Name a fruit."]]').hexdigest()[:32]


@given(texts, texts, texts, texts)
def test_items_have_equal_ids_exactly_when_their_text_is_equal(a, b, c, d):
    assert (Item.of(a, b).id == Item.of(c, d).id) == ((a, b) == (c, d))


def test_a_turn_boundary_is_part_of_the_id():
    one = Item((Message("user", "ab"),), "c")
    two = Item((Message("user", "a"), Message("user", "b")), "c")
    system = Item((Message("system", "ab"),), "c")
    assert len({one.id, two.id, system.id}) == 3


def test_protocol_follows_from_the_instructions():
    assert Comparison(PEAR, BRICK).protocol == "conditional"
    assert Comparison(PEAR, RED).protocol == "joint"


def test_repeated_items_are_one_row_and_repeated_comparisons_stay():
    built = ComparisonSet.build([Comparison(PEAR, BRICK), Comparison(BLUE, BRICK, 2.0, "b"), Comparison(PEAR, BRICK)])
    assert built.all_items() == [PEAR, BRICK, BLUE]
    assert (built.winners_C.tolist(), built.losers_C.tolist()) == ([0, 2, 0], [1, 1, 1])
    assert built.weights_C.tolist() == [1.0, 2.0, 1.0]
    assert built.is_joint_C.tolist() == [False, True, False]
    assert built.comparisons["source"].to_pylist() == ["", "b", ""]


@given(edges)
def test_build_keeps_every_comparison_in_order(comparisons):
    built = ComparisonSet.build(comparisons)
    assert content(built) == comparisons
    assert built.num_items == len({item for c in comparisons for item in (c.winner, c.loser)})


@given(edges, st.data())
def test_subset_is_the_chosen_comparisons_and_only_their_items(comparisons, data):
    keep = data.draw(st.lists(st.booleans(), min_size=len(comparisons), max_size=len(comparisons)))
    part = ComparisonSet.build(comparisons).subset(np.array(keep, dtype=bool))
    kept = [c for c, wanted in zip(comparisons, keep, strict=True) if wanted]
    assert content(part) == kept
    assert part.num_items == len({item for c in kept for item in (c.winner, c.loser)})


def test_fingerprint_changes_with_items_weight_direction_order_and_source():
    base = [Comparison(PEAR, BRICK), Comparison(BLUE, RED)]
    variants = [
        base,
        base[::-1],
        base[:1],
        [*base, base[0]],
        [Comparison(BRICK, PEAR), base[1]],
        [Comparison(PEAR, BRICK, 1.5), base[1]],
        [Comparison(PEAR, Item.of("Name a fruit.", "A brick")), base[1]],
        [Comparison(PEAR, BRICK, 1.0, "elsewhere"), base[1]],
    ]
    assert len({ComparisonSet.build(variant).fingerprint for variant in variants}) == len(variants)
    assert ComparisonSet.build(base).fingerprint == ComparisonSet.build(list(base)).fingerprint


@settings(max_examples=25, deadline=None)
@given(edges)
def test_a_folder_gives_back_what_was_written(tmp_path_factory, comparisons):
    folder = tmp_path_factory.mktemp("set")
    built = ComparisonSet.build(comparisons)
    write_set(built, folder, {"rows": 7})
    again = read_set(folder)
    assert again.items.equals(built.items)
    assert again.comparisons.equals(built.comparisons)
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report == {
        "fingerprint": again.fingerprint, "items": built.num_items, "comparisons": len(comparisons), "rows": 7,
    }  # fmt: skip


def test_a_subset_survives_writing(tmp_path):
    part = ComparisonSet.build([Comparison(PEAR, BRICK), Comparison(BLUE, RED)]).subset(np.array([False, True]))
    write_set(part, tmp_path)
    assert read_set(tmp_path).fingerprint == part.fingerprint
    assert content(read_set(tmp_path)) == [Comparison(BLUE, RED)]


@pytest.mark.parametrize("row", [2, -1])
def test_a_comparison_of_an_item_that_is_not_there_is_refused(tmp_path, row):
    built = ComparisonSet.build([Comparison(PEAR, BRICK)])
    write_set(built, tmp_path)
    broken = built.comparisons.set_column(0, "winner", pa.array([row], pa.int64()))
    pq.write_table(broken, tmp_path / "comparisons.parquet")
    with pytest.raises(ValueError, match="rebuild it"):
        read_set(tmp_path)


def test_reading_a_folder_without_a_set_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_set(tmp_path)


@given(edges, st.floats(0, 1), st.integers(0, 5))
def test_splits_share_no_instruction_and_account_for_every_comparison(comparisons, fraction, seed):
    built = ComparisonSet.build(comparisons)
    split = split_by_instruction(built, fraction, seed)
    assert not instructions(split.train) & instructions(split.held_out)
    assert len(split.train) + len(split.held_out) + split.num_crossing == len(built)


@given(edges, st.randoms(use_true_random=False), st.integers(0, 5))
def test_splits_depend_on_text_and_seed_not_on_order_or_neighbors(comparisons, random, seed):
    shuffled = random.sample(comparisons, len(comparisons))
    first = split_by_instruction(ComparisonSet.build(comparisons), 0.4, seed)
    second = split_by_instruction(ComparisonSet.build(shuffled), 0.4, seed)
    assert instructions(first.held_out) == instructions(second.held_out)
    assert first.num_crossing == second.num_crossing
    half = split_by_instruction(ComparisonSet.build(comparisons[::2]), 0.4, seed)
    assert instructions(half.held_out) <= instructions(first.held_out)


def test_split_holds_out_about_the_fraction_of_the_instructions_and_another_seed_holds_out_others():
    pairs = [Comparison(Item.of(str(n), "yes"), Item.of(str(n), "no")) for n in range(2000)]
    built = ComparisonSet.build(pairs)
    held = [instructions(split_by_instruction(built, 0.25, seed).held_out) for seed in (0, 1)]
    for ids in held:
        assert abs(len(ids) - 500) < 5 * (2000 * 0.25 * 0.75) ** 0.5  # five standard deviations
    assert 60 < len(held[0] & held[1]) < 190  # independent draws share 125
    nothing, everything = split_by_instruction(built, 0.0, 0), split_by_instruction(built, 1.0, 0)
    assert (len(nothing.held_out), len(everything.train)) == (0, 0)


def test_a_crossing_comparison_is_in_neither_split():
    built = ComparisonSet.build([Comparison(Item.of(str(n), "yes"), Item.of(str(n + 1), "no")) for n in range(50)])
    split = split_by_instruction(built, 0.5, 0)
    assert split.num_crossing > 0
    for part in split[:2]:
        assert len(part) < 50
