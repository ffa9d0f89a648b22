"""Machines to ranked processes. Knows nothing of preferences."""
