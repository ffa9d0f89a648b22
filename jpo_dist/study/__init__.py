"""Does one method do better than another? What the answers of many training runs say, with honest intervals.

Stations: question (said before anything runs) -> outcomes (a cell's answers or verdicts, summed by instruction) ->
tables (arrays of all cells) -> bounds (between what a mean can lie) -> trends, findings (arms, differences, what may be
said of them); results (all of it in one small file).
May import generate, data, statistics, config, files and paths.
"""
