"""Everything that knows a FiftyOne dataset: records of runs, their fields and files, saved views, edits.

May import every room but formats, cli and operators.
"""
