"""How often the answers of one model win against gold responses or another model's, by any judge.

Stations: config -> gold (good responses of files) -> opponents (who meets whom) -> contest (what is settled before the
judge, and what is asked) -> rates (verdicts to counts and rates), length_control -> report; alpaca (AlpacaEval's
files).
May import generate, judge, batches, data, records, config, files, statistics, fan_out and paths.
"""
