"""Fully connected CRF (Krähenbühl & Koltun, NeurIPS 2011) on the labels that are present.

Potentials follow the constants that unsupervised segmentation shares (MaskContrast, STEGO, CAUSE, PriMaPs):
10 mean-field iterations, Gaussian sxy 1 / compat 3, bilateral sxy 67 / srgb 3 / compat 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from PIL import Image

from ..errors import MissingDependencyError
from .upsample import fit_within, resize_scores

__all__ = ["DenseCRF", "crf_available"]

INSTALL_HINT = "pip install 'fiftyone-pseudomask[crf]' (package pydensecrf2, built with a C++ compiler)"


def crf_available() -> bool:
    """Tell whether ``pydensecrf`` (distribution pydensecrf2) can be imported, without importing it."""
    return find_spec("pydensecrf") is not None


@dataclass(frozen=True)
class DenseCRF:
    """Mean-field inference over soft scores and the image; cheap to pickle into worker processes.

    Args:
        n_iter: mean-field iterations.
        gaussian_sxy: std of the smoothness kernel, pixels of the working resolution.
        gaussian_compat: weight of the smoothness kernel.
        bilateral_sxy: spatial std of the appearance kernel, pixels of an image 640 px long; scaled with the
            working resolution, so that the kernel covers the same part of the scene.
        bilateral_srgb: colour std of the appearance kernel, in 0..255 levels.
        bilateral_compat: weight of the appearance kernel.
        max_side: longer side of the working resolution in pixels, ``None`` for native.
        confidence: scores are clipped to [1 - confidence, confidence] before the logarithm, so that a certain
            patch can still be overruled by the pixels.
    """

    n_iter: int = 5
    gaussian_sxy: float = 1.0
    gaussian_compat: float = 3.0
    bilateral_sxy: float = 67.0
    bilateral_srgb: float = 3.0
    bilateral_compat: float = 4.0
    max_side: int | None = 240
    confidence: float = 0.9

    def __call__(self, scores: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Refine the scores of one image.

        Args:
            scores: (L, h, w) float, >= 0, any resolution; L is the number of labels present.
            image: (H, W, 3) uint8 RGB, native.

        Returns:
            (L, h', w') float32 marginals that sum to 1 over L, at the working resolution: (H, W) scaled so
            that its longer side is at most ``max_side``.

        Raises:
            MissingDependencyError: pydensecrf is not installed.
        """
        height, width = fit_within(image.shape[0], image.shape[1], self.max_side)
        scores = resize_scores(scores, height, width)
        n_labels = len(scores)
        if n_labels == 1 or height * width == 1:
            return np.asarray(scores / scores.sum(0, keepdims=True))
        try:
            from pydensecrf import densecrf
        except ImportError as error:
            raise MissingDependencyError(f"refinement 'crf' needs pydensecrf: {INSTALL_HINT}") from error
        if image.shape[:2] != (height, width):
            small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX, reducing_gap=2.0)
            image = np.asarray(small)
        scale = max(height, width) / 640.0
        crf = densecrf.DenseCRF2D(width, height, n_labels)
        scores = np.clip(scores, (1 - self.confidence) / max(1, n_labels - 1), self.confidence)
        scores /= scores.sum(0, keepdims=True)
        crf.setUnaryEnergy(np.ascontiguousarray(-np.log(scores).reshape(n_labels, -1), dtype=np.float32))
        crf.addPairwiseGaussian(sxy=self.gaussian_sxy, compat=self.gaussian_compat)
        crf.addPairwiseBilateral(
            sxy=self.bilateral_sxy * scale,
            srgb=self.bilateral_srgb,
            rgbim=np.array(image, np.uint8, order="C"),  # the wrapper wants writable memory
            compat=self.bilateral_compat,
        )
        marginals = np.asarray(crf.inference(self.n_iter), dtype=np.float32)
        return marginals.reshape(n_labels, height, width)
