"""Public data sets as data: their real columns, and which side each label means by their cards.

Stations: judged_pairs (a label says which of two is better), judges (the same, in data that measure judges) ->
named_pairs (the names of the columns say it) -> rated (scores, ranks, thumbs, or nothing), turn_by_turn (answers to
each turn of a conversation), argilla, trees, other_forms (a winner and losers in lists, or inside of messages).
"""
