"""The first config of a user's own: what is found in data, model and machine becomes a commented YAML file.

Stations: found (data, template, lengths), machine (workers, or the cluster to join) -> written (the file). May import
launcher.config, cluster.connection and the rooms of jpo_dist that read data and models.
"""
