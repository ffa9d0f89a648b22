"""What would end a run soon after its start, found before a machine is asked for or a weight is loaded.

Stations: runs (of `jpo train`, `sft`, `evaluate` and `score`) -> configs (of any command, for `jpo check`); template
is what `jpo data inspect` shows of a chat template.
May import everything below `sample`. Ranks look again, each at what it sees: a driver need not see model and data.
"""
