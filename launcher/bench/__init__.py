"""`jpo bench`: how fast, how small, against whom. One module a group of figures, each group in processes of its own.

A figure that compares has both arms in one process, in turns, and counts the least CPU time of each: on a machine that
others use, wall time says little. Beside times stand counters, which do not move. `figures.run` starts the groups.
"""
