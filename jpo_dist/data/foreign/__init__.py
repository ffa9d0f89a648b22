"""Files of strangers, which may be damaged, or made so that they do harm.

Stations: globbing (which files a pattern means, whatever links there are), inside (a folder of data never leads out of
itself) -> watched (a file that changes while it is read; how much of it is looked at together) -> double_keys (an
object of JSON with a key twice), as_utf8 (text in another encoding) -> json_window (values of a JSON file, one by one),
tables (rows of Arrow and Parquet).
May import what data may, but nothing else of data except row_values.
"""
