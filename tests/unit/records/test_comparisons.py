"""Items collapse, comparisons do not; ids depend on text alone."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message, digest
from tests.support.drawn import content, edges

PEAR, BRICK = Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick.")
BLUE, RED = Item.of("Name a color.", "Blue."), Item.of("Name a color.", "Red.")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


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
