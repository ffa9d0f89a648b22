"""Checkpoints: commits of a run that a kill at any moment leaves whole, and their copies in a store.

Stations: run_folder, manifest (what is on the disk) -> commit (made) -> search (found again) -> reshard (for other
ranks); store, upload (copied to checkpoint.storage and fetched from it).
May import distributed, config and the single files. What a shard is the caller knows, and hands in functions for it.
"""
