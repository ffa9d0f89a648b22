"""Damage drawn at random: rows of every layout, bytes of every format and of everything that we write.

Each test runs in a process of its own (tests/fuzz/child.py), so that a crash of a library is seen. By day a few seconds
of it; by night as much as JPO_FUZZ_ROWS and JPO_FUZZ_DAMAGE say. What it finds becomes a fixed case of the unit tests.
"""
