"""What sources say, all together: comparisons, scores, and counts of what could not be read."""

from dataclasses import dataclass, field

from jpo_dist.data.from_ratings import from_scores
from jpo_dist.data.read_report import ReadReport, Tally
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating
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
    """One rating for each item and scale: the mean score, at the place of the first."""
    found: dict[tuple[Item, str], list[Rating]] = {}
    for rating in ratings:
        found.setdefault((rating.item, rating.scale), []).append(rating)
    return [same[0]._replace(score=sum(r.score for r in same) / len(same)) for same in found.values()]


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
