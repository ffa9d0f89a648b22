"""What figures can say: intervals that hold for other instructions and other training runs, tests, and power.

Stations: intervals (one source of chance: bootstrap, Wilson), crossed (instructions and training runs at once),
hypotheses (McNemar, Holm, equivalence), power (how many instructions and runs a difference takes).
May import nothing of the project.
"""
