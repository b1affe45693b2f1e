"""A run: what it writes, what it says about every image, and how it goes on after an interruption.

May import every room but formats, datasets, commands and operators.
"""
