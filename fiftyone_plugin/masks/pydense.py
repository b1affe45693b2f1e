"""Fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011) on the labels that are present.

pydensecrf's lattice, on the CPU, image by image. Potentials follow the constants that unsupervised
segmentation shares (MaskContrast, STEGO, CAUSE, PriMaPs): 10 iterations, Gaussian sxy 1 / compat 3,
bilateral sxy 67 / srgb 3 / compat 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from PIL import Image

from ..errors import MissingDependencyError
from .upsample import fit_within, resize_scores

if TYPE_CHECKING:
    import torch

__all__ = ["PyDenseCRF"]

INSTALL_HINT = "pip install 'fiftyone-pseudomask[crf]' (package pydensecrf2, built with a C++ compiler)"
SIDE = 240  # longer side of the working resolution in pixels, in the native aspect ratio
CONFIDENCE = 0.9  # scores are clipped to it: a certain patch can still be overruled by the pixels


@dataclass(frozen=True)
class PyDenseCRF:
    """Mean-field inference over soft scores and the image, in ``n_iter`` iterations.

    Raises:
        MissingDependencyError: pydensecrf is not installed.
    """

    guide_side: ClassVar[int] = 448
    n_iter: int = 5

    def __post_init__(self) -> None:
        try:
            import pydensecrf.densecrf  # noqa: F401
        except ImportError as error:
            raise MissingDependencyError(
                f"refinement 'pydensecrf' needs its package: {INSTALL_HINT}"
            ) from error

    def __call__(
        self, scores: torch.Tensor, guide: torch.Tensor | None, sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Refine, see :class:`~fiftyone_plugin.masks.refine.Refiner`; (B, L, SIDE, SIDE)."""
        import torch

        assert guide is not None
        values, pixels = scores.cpu().numpy(), guide.cpu().numpy()
        found = np.zeros((*values.shape[:2], SIDE, SIDE), np.float32)
        for row, (own, image, size) in enumerate(zip(values, pixels, sizes, strict=True)):
            there = own.any(axis=(1, 2))
            marginals = self._marginals(own[there], image, *fit_within(*size, SIDE))
            found[row, there] = resize_scores(marginals, SIDE, SIDE)
        return torch.from_numpy(found).to(scores.device)

    def _marginals(self, scores: np.ndarray, image: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return (L, height, width) float32 marginals."""
        from pydensecrf import densecrf

        scores = resize_scores(scores, height, width)
        n_labels = len(scores)
        if n_labels == 1 or height * width == 1:
            return np.asarray(scores / scores.sum(0, keepdims=True))
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
        colours = np.array(small, np.uint8, order="C")  # the wrapper wants writable memory
        spread = 67.0 * (max(height, width) / 640.0)  # so that the kernel covers the same part of the scene
        crf = densecrf.DenseCRF2D(width, height, n_labels)
        scores = np.clip(scores, (1 - CONFIDENCE) / max(1, n_labels - 1), CONFIDENCE)
        scores /= scores.sum(0, keepdims=True)
        crf.setUnaryEnergy(np.ascontiguousarray(-np.log(scores).reshape(n_labels, -1), dtype=np.float32))
        crf.addPairwiseGaussian(sxy=1.0, compat=3.0)
        crf.addPairwiseBilateral(sxy=spread, srgb=3.0, rgbim=colours, compat=4.0)
        marginals = np.asarray(crf.inference(self.n_iter), dtype=np.float32)
        return marginals.reshape(n_labels, height, width)
