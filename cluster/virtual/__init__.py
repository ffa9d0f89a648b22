"""Several hosts on one machine, for people who try a cluster and for tests of one.

Stations: namespaces (hosts, cables and switches, no Ray) -> hosts (a Ray node in each). Needs Linux, root and iproute2.
May import nothing of cluster but itself.
"""
