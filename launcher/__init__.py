"""What a person types: the `jpo` command and its run configs."""
