"""What a person types: one module a command, with its arguments and nothing else.

Stations: check, plan -> train, evaluate, export; data (build, inspect, export, import), judge, winrate; submit, doctor;
demo; registry (register, promote, rollback).
May import launcher.arguments and launcher.console. Whatever is slow to import waits inside the command, so that
`jpo --help` answers at once.
"""
