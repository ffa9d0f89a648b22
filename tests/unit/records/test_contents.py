"""What a set holds, as digests: names of files do not count, everything that is said of a comparison does."""

from dataclasses import replace

import pyarrow as pa

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.contents import Contents, contents_of

WINS = [
    Comparison(Item.of(f"say {n}", "yes"), Item.of(f"say {n}", "no"), source=f"a:{n}", groups=(("country", "DE"),))
    for n in range(3)
]


def test_who_judged_is_part_of_the_contents_and_the_file_is_not() -> None:
    told = contents_of(ComparisonSet.build(WINS))
    assert contents_of(ComparisonSet.build([replace(c, source="b:1") for c in WINS])) == told
    other = contents_of(ComparisonSet.build([*WINS[:2], replace(WINS[2], groups=(("country", "FR"),))]))
    none = contents_of(ComparisonSet.build([replace(c, groups=()) for c in WINS]))
    assert len({told.in_order, other.in_order, none.in_order}) == 3
    assert len({told.any_order, other.any_order}) == 2


def test_another_order_is_told_apart_and_known_as_one() -> None:
    told, turned = contents_of(ComparisonSet.build(WINS)), contents_of(ComparisonSet.build(WINS[::-1]))
    assert told.in_order != turned.in_order
    assert told.any_order == turned.any_order


def test_a_set_in_pieces_holds_the_same() -> None:
    whole = ComparisonSet.build(WINS)
    cut = [pa.concat_tables([table.slice(0, 2), table.slice(2)]) for table in (whole.items, whole.comparisons)]
    assert cut[1].column("winner").num_chunks == 2
    assert contents_of(ComparisonSet(*cut)) == contents_of(whole)


def test_the_digests_are_those_by_which_earlier_commits_are_found() -> None:
    """Computed by the version before these were taken in chunks."""
    known = Contents("da1f8ea5a0023d94f7345124752ea1ec", "4ad15bbed4059111")
    assert contents_of(ComparisonSet.build(WINS)) == known
