"""Records as columns: what is read becomes row numbers and text on disk, and objects only while somebody looks.

Stations: pages (tables on disk, looked at chunk by chunk), numbering (equal text, equal number) -> item_rows (items,
each once) -> lists (comparisons and ratings); fingerprint is the digest of a whole set.
May import jpo_dist.records.item and group_column, nothing else of jpo_dist. Loads no torch.
"""
