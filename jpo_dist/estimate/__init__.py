"""What a run will need before it starts: memory, traffic, time, and what to change. No weights, no collectives.

Stations: model_shape (parameters and activations), workload (what the plan gives each rank) -> zero3_gathers -> memory,
step_time (on a Device and a Link of hardware) -> advice; situations brings them together for one run and its variants.
May import config, records, batches, model and objective.
"""
