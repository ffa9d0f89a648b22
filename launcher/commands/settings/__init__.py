"""Commands about configs themselves: `jpo init` writes one, `jpo config show` and `jpo check` read one.

Stations: init -> check, config. May import what launcher.commands may.
"""
