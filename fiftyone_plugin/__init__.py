"""Semantic pseudo-masks for image datasets, without labels and without prompts."""

from ._version import DISTRIBUTION, __version__

__all__ = ["DISTRIBUTION", "__version__"]
