"""Distributed: this process among its peers, also when it is alone.

Stations: ranks (who, and what all do together), rng, allocator -> network (measured once) -> host_metrics, stragglers,
watchdog (beside training), notices (for people); fault_injection for tests.
May import the single files. Starts no process group: model/engine.py, Ray or torchrun do.
"""
