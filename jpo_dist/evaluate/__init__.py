"""What a model has learned: metrics of held-out comparisons, and how often its answers obey checkable instructions.

Stations: config -> evaluation (all of it) -> pass_rate (answers) -> constraints, words_and_sentences (what is checked).
May import objective, generate, model, batches, records, distributed, config, intervals and paths.
"""
