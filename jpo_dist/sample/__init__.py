"""The sample comparisons that come with the package, and the program that made them.

Stations: kinds (which constraints comparisons have) -> make (instructions and sampled responses) -> pairs (balanced
comparisons) -> card (CARD.md); beside them the data files, which configs name as package:jpo_dist/sample/FILE. And
sentiment: rated texts that a user has, as data for a study -> small_model (a model that can learn them in minutes).
May import evaluate, pairing, records and files.
"""
