"""The groups of figures, one module each; launcher/bench/groups.py says which function measures which group.

Stations: against TRL: training, finetune; against the plain way: ranked, head, products; counted: balance, planning,
collectives. May import launcher.bench and jpo_dist; never each other, but that finetune uses training's race.
"""
