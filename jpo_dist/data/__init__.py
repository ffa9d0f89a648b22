"""From files of any public layout to records, with every row accounted for.

Stations: config -> locate (where rows are) -> foreign/ (files that may be damaged, or made so that they do harm),
file_formats (bytes to rows) -> layouts/ (which columns mean what),
row_values, messages/ (rows to items and comparisons), accounting (what becomes of each column) -> table_layout (which
layout a table has) -> collected (columns, one set), checker (scores) -> read, examples (single items), once (read by
one process of a host) -> build; altered/ (a set made smaller or wrong on purpose); read_report counts.
May import records, pairing, config, and what lies on the ground. Loads no torch.
"""
