"""Preferences as a graph: items are its nodes, comparisons its edges, both kept as Arrow tables.

Stations: comparisons (what an item and a comparison are), contents (their digest), examples (items without an edge)
-> folder (a set on disk) -> split (by whole instructions); inspection tells a set in numbers, text writes an
instruction for a prompt or a person.
May import statistics, nothing else of jpo_dist. Loads no torch.
"""
