"""`jpo bench`: how fast, how small, against whom. Each group of figures is measured in processes of its own.

Stations: command -> figures (starts the processes) -> worker, groups (run in them) -> measures; beside them sizes,
clock, machine, the arms ours and peer (TRL), synthetic (made-up runs), traffic (counts collectives).
May import jpo_dist.

Two arms that are compared run in one process, in turns, and the least CPU time of each counts: on a machine that others
use, wall time says little. Beside times stand counters, which do not move.
"""
