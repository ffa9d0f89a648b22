"""A model of which no weight is loaded: what can be said of it from config.json and the headers of its weights.

Stations: limits (what it can take, whether it is all there, whether it can be scored packed).
May import what its room may.
"""
