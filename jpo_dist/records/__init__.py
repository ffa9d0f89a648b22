"""Preferences as a graph: items are its nodes, comparisons its edges, both kept as Arrow tables.

Stations: comparisons (what an item and a comparison are), contents (their digest), group_column (who judged them),
examples (items without an edge) -> folder (a set on disk) -> split (by whole instructions), groups (by who judged);
inspection tells a set in numbers, by_group those of each group, shapes picks items that stand for all, text writes an
instruction for a prompt or a person, chat for a chat template or a server, with its tools.
May import statistics, nothing else of jpo_dist. Loads no torch.
"""
