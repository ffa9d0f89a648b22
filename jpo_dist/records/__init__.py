"""Preferences as a graph: items are its nodes, comparisons its edges, both kept as Arrow tables.

Stations: item (what an item and a comparison are) -> pages (tables on disk, looked at chunk by chunk), numbering (equal
text, equal number) -> item_rows, lists (objects to columns) -> comparisons, fingerprint (a set), examples (items
without an edge), unbuilt -> folder (a set on disk) -> split (by whole instructions); inspection and repeats tell a set
in numbers, text writes an instruction for a prompt or a person.
May import intervals, nothing else of jpo_dist. Loads no torch.
"""
