"""Pictures: which files there are, what they hold, and drawing on them.

May import common.
"""
