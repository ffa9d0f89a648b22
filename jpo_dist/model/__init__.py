"""A Hugging Face folder becomes something that scores items, alone or in its engine.

Stations: files (which folder), gguf (a file becomes a folder) -> unloaded (what can be said without weights) -> load
(weights, adapter, attention) -> scorer (packed items to log-probs, by head and head_shape) -> engine (DeepSpeed) ->
build (policy, frozen model) -> blend (a frozen model follows) -> export (the twin of the folder that the model came
from).
May import config, files, paths, distributed, records and batches. Knows no margin and no loss.
"""
