"""Preferences as a graph: items are its nodes, comparisons its edges, both kept as Arrow tables.

Stations: item (what an item and a comparison are), group_column (who judged) -> columns/ (objects to columns) ->
comparisons (a set), contents (its digests, what it says twice, what two sets share), examples (items without an edge),
unbuilt -> folder (a set on disk) -> split (by whole instructions), groups (by who judged, and how they agree);
inspection tells a set in numbers, shapes picks items that stand for all, text writes an instruction for a prompt or a
person, chat for a chat template or a server, with its tools.
May import statistics, nothing else of jpo_dist. Loads no torch.
"""
