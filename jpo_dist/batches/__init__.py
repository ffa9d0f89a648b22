"""From records to packed optimizer steps, the same on every rank.

Stations: load -> prepare -> template, ids/ (texts to ids), tokenize, shared_prefix (items to tokens), similarity (of
two instructions) -> order (of an epoch) -> plan (steps) -> micro_steps (what fits on a rank); template_check compares
tokens with what the chat template writes, limits with what a model can take; mismatched puts responses under other
instructions, prefetch makes the next batch while one is used.
May import data, records, pairing.embedding, config and paths.
"""
