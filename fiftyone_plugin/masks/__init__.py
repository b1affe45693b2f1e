"""What a mask is, on disk and in memory: one reader and one writer for all of the package.

May import common and images; knows nothing of runs, datasets or methods.
"""
