"""Settings: what may be said of a run, read from a file and checked before anything starts.

Stations: base (what a section is), groups (settings about who judged) -> sections, engine -> run (JpoConfig), sft
(SftConfig); overrides -> load; explain for what is wrong.
May import files, paths and redact. Rooms above keep the settings that only they read (judge/config.py and others).
"""
