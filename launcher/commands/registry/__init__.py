"""Commands on versions of models in MLflow's registry.

Stations: versions.
"""
