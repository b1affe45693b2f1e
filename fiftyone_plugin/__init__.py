"""Semantic pseudo-masks for image datasets, without labels and without prompts."""

from ._version import __version__

__all__ = ["__version__"]
