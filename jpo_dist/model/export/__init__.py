"""Shards become the twin of the folder that the model came from, which any program loads that loads the source.

Stations: source (what a folder's files hold, by key) -> names (which weight of the model each key is) -> twin (the
trained weights under the source's keys, checked), adapted (those of an adapter) -> side_files (what lies beside
them) -> card (what the model is, for people) -> write (a whole export, aside first).
May import what its room may. Knows no margin and no loss.
"""
