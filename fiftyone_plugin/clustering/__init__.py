"""Arrays to groups: whitening, k-means, spectral embedding, graphs; nothing here knows what an image is.

May import common.
"""
