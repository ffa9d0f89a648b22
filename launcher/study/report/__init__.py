"""All that a study's report is made of, from the cells that are done.

Stations: told (what stages tell, from their folders or as published) -> training (margins by step, time), chosen (what
tune found), sets (what the data hold), labels (kinds of instructions) -> collected (results, what is told beside, its
files) -> continued (published, and gone on with elsewhere). Its words and figures: launcher.show.study.
"""
