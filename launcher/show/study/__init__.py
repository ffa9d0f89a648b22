"""The report of `jpo study`: an answer in words first, then the tables and pictures that it rests on.

Stations: words (numbers as people read them) -> answer (sentences), tables, figures -> page (Markdown and HTML); live,
while it runs.
All are functions of the report's figures alone (launcher.study.report.collected): the same files, the same page.
"""
