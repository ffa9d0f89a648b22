"""What the commands on versions of models do.

Stations: versions.
"""
