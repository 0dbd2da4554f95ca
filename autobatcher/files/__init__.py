"""Files of many calls, as the Batch API has them: lines of requests, and lines of answers.

input_lines.py   the lines of an input, one by one; input_file.py: where they come from
known_ids.py     custom ids that were seen, in ten bytes each
duplicates.py    custom ids that come twice
output_lines.py  the line of an answer or of a failure: pure
output_file.py   a file of complete lines, which is written on after a crash
"""
