"""Answers of a model to instructions.

Stations: config -> prompts (what is asked) -> run (what is missing, and the report) -> server, or shards -> local (rows
that join and leave a batch: decoder, cache, sampling) -> progress -> answers (on disk) -> formats (of benchmarks).
asking: rows, and what becomes of them. May import model, batches, data, records, endpoint and what is below.
"""
