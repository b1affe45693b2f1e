"""Mosaic: regions of all images on one graph, the default method, see docs/mosaic.md."""

from .method import Mosaic

__all__ = ["Mosaic"]
