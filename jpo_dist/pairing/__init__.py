"""Which scored items meet: policies that offer pairs, limits that take or leave them, and a report of what came of it.

Stations: config -> pair (the pool and the policy) -> offers, balanced -> limits -> report; texts, embedding, neighbours
and instruction_only are what policies and reports measure instructions with.
May import config and paths; knows rows and arrays, not records. Loads no torch.
"""
