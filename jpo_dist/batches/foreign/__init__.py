"""Files of models, which others wrote: what is wrong with them, in words.

Stations: model_files (configuration, tokenizer and weights).
May import what its room may.
"""
