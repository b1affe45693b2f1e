"""Everything that knows a FiftyOne dataset: the records of runs, who owns their files, how they are written.

The modules here are used by :mod:`fiftyone_plugin.datasets`, which has the functions for callers.
"""
