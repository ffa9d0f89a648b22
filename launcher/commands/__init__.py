"""What a person types: one module a command, with its arguments and nothing else.

Stations: settings (init, check, config), plan -> train, evaluate, export; data (build, inspect, export, import), judge,
winrate; registry (register, promote, rollback); submit, doctor; demo. May import launcher.arguments and
launcher.console. Whatever is slow to import waits inside the command, so that `jpo --help` answers at once.
"""
