"""What `jpo submit` does: a config becomes a Ray job, by the plain `ray job submit`.

Stations: job (what is submitted) with variables (what it gets of the shell), dashboard (submit, follow, the outcome).
"""
