"""DatUS²: segments of an image, described and clustered, see docs/datus.md."""

from .method import DatUS

__all__ = ["DatUS"]
