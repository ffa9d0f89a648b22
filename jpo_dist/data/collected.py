"""What sources say, all together: comparisons, scores, and counts of what could not be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from jpo_dist.data import row_values
from jpo_dist.data.from_ratings import from_scores
from jpo_dist.data.layouts import Reading
from jpo_dist.data.read_report import ReadReport, Tally
from jpo_dist.data.row_values import Row
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating
from jpo_dist.records.groups import labelled, shared
from jpo_dist.records.repeats import restated


@dataclass
class Preferences:
    """All that sources say, before scores become comparisons."""

    comparisons: list[Comparison] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    """Scores from rows of responses, whose items nobody has compared yet."""
    pair_scores: list[Rating] = field(default_factory=list)
    """Scores that came with a comparison of the same items."""
    tally: Tally = field(default_factory=Tally)

    def scores(self) -> list[Rating]:
        """All scores of single items, one for each item and scale."""
        return merged([*self.ratings, *self.pair_scores])


def merged(ratings: list[Rating]) -> list[Rating]:
    """One rating for each item and scale: the mean score, at the place of the first, with what all raters share."""
    found: dict[tuple[Item, str], list[Rating]] = {}
    for rating in ratings:
        found.setdefault((rating.item, rating.scale), []).append(rating)
    return [
        same[0]._replace(score=sum(r.score for r in same) / len(same), groups=reduce(shared, (r.groups for r in same)))
        for same in found.values()
    ]


def grouped(reading: Reading, row: Row, columns: Sequence[str]) -> Reading:
    """What a row says, with what these columns of it say of who judged. Raises BadField."""
    if not columns:
        return reading
    groups = row_values.groups(row, columns)
    ratings = tuple(rating._replace(groups=groups) for rating in reading.ratings)
    return reading._replace(comparison=reading.comparison and labelled(reading.comparison, groups), ratings=ratings)


def compile_set(preferences: Preferences) -> ComparisonSet:
    """All that was read as one ComparisonSet.

    The stated comparisons come first, in order; after them the comparisons that scores make within one instruction,
    equal scores as ties. Rated items that no comparison uses are in it too, with their scores. An empty `preferences`
    gives an empty set.
    """
    scored = from_scores(merged(preferences.ratings))
    return ComparisonSet.build([*preferences.comparisons, *scored], preferences.scores())


def report_of(built: ComparisonSet, preferences: Preferences) -> ReadReport:
    """What became of everything that was read. `built` is the set that `compile_set` made of it."""
    tally, decided_C = preferences.tally, ~built.is_tie_C
    again = restated(built)
    return ReadReport(
        rows=tally.rows,
        comparisons=int(decided_C.sum()),
        ties=int(built.is_tie_C.sum()),
        responses=tally.responses,
        duplicates=len(preferences.ratings) - len({rating.item for rating in preferences.ratings}),
        skipped=dict(tally.skipped),
        bad_rows=tuple(tally.bad_rows),
        items=built.num_items,
        joint=int((built.is_joint_C & decided_C).sum()),
        repeated=again.repeated,
        contradictions=again.contradictions,
        ignored=tuple(tally.ignored),
        tables=tuple(tally.tables),
        layouts=dict(tally.layouts),
    )
