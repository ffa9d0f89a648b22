"""The sample comparisons that come with the package, and the program that made them.

Stations: make (instructions and sampled responses) -> pairs (balanced comparisons) -> card (CARD.md); beside them the
data files. Configs name these files as package:jpo_dist/sample/FILE.
May import evaluate and pairing.
"""
