"""A set that is smaller, or labeled wrongly, on purpose: what studies compare methods on.

Stations: config -> kept (which instructions and answers a set is made of), flipped (whose winner and loser change
places). Both rank by digests of texts and a seed, never by rows: a smaller share is a part of a larger one.
May import collected, records and config.
"""
