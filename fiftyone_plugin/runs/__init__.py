"""A run: from pixels to a folder of masks, what is said of every image, going on after an interruption.

May import methods and every room that methods may.
"""
