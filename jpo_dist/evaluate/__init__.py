"""What a model has learned: metrics of held-out comparisons, rewards of any item, and how often its answers obey
checkable instructions.

Stations: config -> evaluation (all of it) -> strata (where accuracy comes from, who judged, calibration), extremes
(the surest and the most wrong ones), pass_rate (answers) -> constraints, words_and_sentences (what is checked); config
-> to_score (items of any place) -> score (their rewards, and margins of comparisons). frames: the same for notebooks.
May import objective, generate, model, batches, data, records, pairing, distributed, config, statistics and paths.
"""
