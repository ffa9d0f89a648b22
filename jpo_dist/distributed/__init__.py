"""Distributed: this process among its peers, also when it is alone.

Stations: waiting (never in silence: works and waits, for who listens) -> joining (the process group, where Ray has not
made it), build_lock -> ranks (who, and what all do together), rng, allocator -> network (measured once) ->
host_metrics, stragglers, watchdog (beside training), notices (for people), stopping (a run that is told to end);
fault_injection for tests.
May import the single files. Only model/engine.py calls joining and build_lock.
"""
