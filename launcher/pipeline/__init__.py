"""`jpo run`: the stages of a whole pipeline from one YAML, each a `jpo` command that begins from the files before it.

Stations: contents (digests of what a stage reads) -> resolve (rounds, references, keys and folders) -> process (a
stage's command, alone in its folder), lacking (requests to a server that it has left), parent (the MLflow run of the
whole) -> run (one after the other, what is done is skipped). The YAML itself: launcher.config.pipeline.
"""
