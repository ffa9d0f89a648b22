"""Which configs there are: the settings of jpo_dist and of cluster in one file for one command.

Stations: kinds (a class for each kind of file) -> load -> run_paths (local paths made absolute, lost ones refused);
origins (where a value comes from); reference_page writes docs/config.md, schema the files of configs/schema. May import
cluster.config and the settings of every room of jpo_dist.
"""
