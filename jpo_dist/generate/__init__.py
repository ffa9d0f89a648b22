"""Answers of a model to instructions.

Station: local (transformers in this process).
May import model, batches, records and config.
"""
