"""Pixels to features: backbones, the store on disk, crops, samples of patches.

May import common and images.
"""
