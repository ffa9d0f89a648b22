"""A ComparisonSet back as the comparisons and ratings that it was built from, to build another one with more."""

from collections.abc import Iterator

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Rating
from jpo_dist.records.group_column import GROUPS


def comparisons_of(built: ComparisonSet) -> Iterator[Comparison]:
    """The comparisons as they were before they became tables."""
    items = built.all_items()
    for e in built.comparisons.to_pylist():
        winner, loser = items[e["winner"]], items[e["loser"]]
        how = {name: e[name] for name in ("weight", "source", "tie", "confidence", "origin", "pairing", "annotator")}
        groups = tuple((group["name"], group["value"]) for group in e.get(GROUPS.name) or ())
        yield Comparison(winner, loser, **how, groups=groups)


def ratings_of(built: ComparisonSet) -> Iterator[Rating]:
    """The scores of its items."""
    scored = built.items.select(["score", "scale"]).to_pylist()
    for item, row in zip(built.all_items(), scored, strict=True):
        if row["score"] is not None:
            yield Rating(item, row["score"], row["scale"])
