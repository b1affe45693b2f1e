"""Taught: Mosaic, and what a person says: masks of a few images, names of clusters, or both."""

from .method import Taught

__all__ = ["Taught"]
