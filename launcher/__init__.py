"""What a person types: the `jpo` command.

Stations: __main__ -> allocator, environment, places, chatter (what the process starts in, and where libraries print) ->
cli (registers) -> commands (read the arguments) -> stages (do it) -> show (tables, pages); config says what a file may
hold, provenance who started a run, init writes a first config, bench measures. May import cluster and jpo_dist: the
only place that knows both.
"""
