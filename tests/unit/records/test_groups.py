"""Groups are kept where there are some, change nothing where there are none, and choose comparisons."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.records.comparisons import COMPARISON_SCHEMA, Comparison, ComparisonSet, Item
from jpo_dist.records.folder import read_set, write_set
from jpo_dist.records.groups import choose, grouping, groups_of, labelled, names_of, require, shared
from jpo_dist.records.split import splits_of, with_splits
from jpo_dist.records.unbuilt import comparisons_of
from tests.support.drawn import items

PEAR, PLUM, BRICK = (Item.of("Name a fruit.", text) for text in ("A pear.", "A plum.", "A brick."))
DE, FR, US = (("country", code) for code in ("DE", "FR", "US"))

MADE = [
    Comparison(PEAR, BRICK, groups=(DE, ("language", "de"))),
    Comparison(PEAR, PLUM, annotator="user:1"),
    Comparison(PEAR, BRICK, groups=(FR,), annotator="user:2"),
    Comparison(PLUM, PEAR, tie=True, groups=(DE, ("language", "fr"))),
]
GROUPS = st.dictionaries(st.sampled_from(["country", "language"]), st.sampled_from(["a", "b", "ü"]), max_size=2)
drawn = st.builds(
    Comparison, items, items, annotator=st.sampled_from([None, "x"]),
    groups=GROUPS.map(lambda found: tuple(sorted(found.items()))),
)  # fmt: skip


def test_a_set_without_groups_is_what_it_was_before_there_were_any(tmp_path):
    """The literal is what the version before groups computed."""
    built = ComparisonSet.build([Comparison(PEAR, BRICK, 0.5, "f:1", annotator="user:1"), Comparison(PLUM, PEAR)])
    assert built.fingerprint == "b857433c14a80433d744c355e999bf7b"
    assert built.comparisons.schema == COMPARISON_SCHEMA
    write_set(built, tmp_path)
    assert read_set(tmp_path).comparisons.schema == COMPARISON_SCHEMA
    assert names_of(built) == ["annotator"]
    assert names_of(ComparisonSet.build([])) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(drawn, max_size=9), st.integers(0, 2**9 - 1), st.integers(1, 4))
def test_groups_survive_folders_subsets_splits_and_chunks(tmp_path_factory, made, bits, chunk):
    folder = tmp_path_factory.mktemp("set")
    write_set(ComparisonSet.build(made), folder)
    read = read_set(folder)
    assert list(comparisons_of(read)) == made
    keep_C = np.array([bool(bits >> row & 1) for row in range(len(made))], dtype=bool)
    part = read.subset(keep_C)
    kept = [c for c, keep in zip(made, keep_C, strict=True) if keep]
    assert list(comparisons_of(part)) == kept
    split, crossing = with_splits(read, splits_of(read, 0.3, 0.2, 0))
    assert len(list(comparisons_of(split))) == len(made) - crossing
    chunked = pa.Table.from_batches(part.comparisons.to_batches(max_chunksize=chunk), part.comparisons.schema)
    for name in ("country", "language", "annotator"):
        group = grouping(ComparisonSet(part.items, chunked), name)
        assert [None if code < 0 else group.values[code] for code in group.codes_C.tolist()] == [
            dict(groups_of(c)).get(name) for c in kept
        ]
        assert group.counts() == sorted(group.counts(), reverse=True)


def test_values_are_told_most_frequent_first():
    built = ComparisonSet.build(MADE)
    assert names_of(built) == ["country", "language", "annotator"]
    assert grouping(built, "country").told() == "country: DE 2, FR 1, no value 1"
    many = ComparisonSet.build([Comparison(PEAR, BRICK, groups=(("n", f"{n:02d}"),)) for n in range(20)])
    assert grouping(many, "n").told().endswith("11 1, 8 more values 8")


@pytest.mark.parametrize(
    ("only", "without", "kept"),
    [
        ({"country": ["DE"]}, {}, [True, False, False, True]),
        ({"country": ["DE", "FR"], "language": ["fr"]}, {}, [False, False, False, True]),
        ({}, {"country": ["DE"]}, [False, True, True, False]),
        ({}, {"country": ["FR"], "language": ["de"]}, [False, True, False, True]),
        ({"country": ["DE"]}, {"language": ["de"]}, [False, False, False, True]),
        ({"annotator": ["user:1", "user:2"]}, {}, [False, True, True, False]),
        ({}, {}, [True] * 4),
    ],
)
def test_only_needs_every_name_and_without_any_of_them(only, without, kept):
    assert choose(ComparisonSet.build(MADE), only, without, "data").tolist() == kept


@pytest.mark.parametrize(
    ("only", "rule"),
    [
        (
            {"country": ["DE", "XX"]},
            r"^data\.only\.country \(XX\): no comparison has it; there are country: DE 2, FR 1",
        ),
        (
            {"county": ["DE"]},
            r"^data\.only\.county: no comparison has a value of county; there are country: DE 2.*; lang",
        ),
        ({"country": ["false"]}, r"Unquoted, YAML takes NO for false: write 'NO'"),
    ],
)
def test_what_no_comparison_has_is_refused_with_what_there_is(only, rule):
    with pytest.raises(ValueError, match=rule):
        choose(ComparisonSet.build(MADE), only, {}, "data")


def test_a_set_without_the_named_groups_is_refused():
    require(ComparisonSet.build(MADE), ["country", "annotator"], "s")
    with pytest.raises(
        ValueError, match=r"^s: groups \(region\): no comparison .* there are: country, language, annot"
    ):
        require(ComparisonSet.build(MADE), ["country", "region"], "s")
    with pytest.raises(ValueError, match="this set has none; name them where it is built"):
        require(ComparisonSet.build([Comparison(PEAR, PLUM)]), ["region"], "s")


def test_the_annotator_is_a_group_that_is_kept_once():
    made = labelled(Comparison(PEAR, PLUM), (DE, ("annotator", "7")))
    assert (made.annotator, made.groups) == ("7", (DE,))
    assert groups_of(made) == (DE, ("annotator", "7"))
    assert labelled(made, ()) is made
    assert shared((DE, ("language", "de")), (DE, ("language", "fr"))) == (DE,)
    assert shared((DE,), (US,)) == ()
