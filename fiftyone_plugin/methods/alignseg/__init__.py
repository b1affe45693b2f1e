"""AlignSeg: learnt alignment of the tokens of an image, see docs/alignseg.md."""

from .method import AlignSeg

__all__ = ["AlignSeg"]
