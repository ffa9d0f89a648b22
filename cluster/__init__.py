"""Machines become ranked processes. Knows nothing of preferences, and jpo_dist knows nothing of it.

Stations: config -> resources (what fits) -> environment, secrets -> connection (a Ray cluster) -> ray_train (ranked
processes; signals, errors and history on the way) or tasks (work without ranks); leave and health run on a host.
May import Ray (connection, ray_train, tasks) and torch, never launcher. `python -m cluster` makes virtual hosts.
"""
