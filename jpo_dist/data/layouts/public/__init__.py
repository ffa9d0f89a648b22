"""Public data sets as data: their real columns, and which side each label means by their cards.

Stations: judged_pairs (a label says which of two is better) -> named_pairs (the names of the columns say it) -> rated
(scores, ranks, thumbs, or nothing), argilla, trees, other_forms (a winner and losers in lists, or inside of messages).
"""
