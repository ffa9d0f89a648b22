"""What is in a set of comparisons, for people.

Stations: shortcuts (what a model may learn instead) -> tables (on a terminal), page (in a browser).
"""
