"""What a model has learned: held-out comparisons, how often its answers obey, and how often they win.

Stations: config -> evaluation (held-out comparisons, and all that follows) -> pass_rate (answers) -> constraints,
words_and_sentences (what is checked). Win rates: opponents (who meets whom) -> contest (before the judge) -> win_rate
(verdicts to counts and rates), statistics (intervals, tests), length_control -> win_rate_report; alpaca (AlpacaEval's
files). May import objective, generate, model, judge, batches, data, records, distributed, config, files, intervals,
fan_out and paths.
"""
