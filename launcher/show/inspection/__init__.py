"""What is in a set of comparisons, for people.

Stations: tables (on a terminal), page (in a browser).
"""
