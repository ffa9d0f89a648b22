"""Drawn examples have no time limit: a test that fails because the machine is busy says nothing about the code."""

from hypothesis import settings

settings.register_profile("no time limit", deadline=None)
settings.load_profile("no time limit")
