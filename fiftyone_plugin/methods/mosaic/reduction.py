"""What Mosaic keeps of an image: whitened tokens, and which of its patches are alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...clustering.normalize import VectorNormalizer
from ...clustering.spreading import n_neighbours, nearest_patches
from ...features.types import FeatureBatch, ImageFeatures

if TYPE_CHECKING:
    import torch

__all__ = ["DETAIL", "Reduced", "Reduction", "groups_of", "image_by_image"]

DETAIL = 96  # components beyond those of the head: with them, patches are compared and segments described
STEPS = 24  # of a standard deviation: 8 bits reach to 5.3 of them
VERSION = 1


@dataclass(frozen=True)
class Reduced:
    """Images in few numbers, 0.3 MB for 1,024 patches.

    Attributes:
        head: (B, n, d) float16 whitened tokens, of variance 1.
        detail: (B, n, e) int8 further components, in steps of 1 / 24.
        neighbours: (B, n, k) int64, see :func:`~fiftyone_plugin.clustering.spreading.nearest_patches`.
    """

    head: torch.Tensor
    detail: torch.Tensor
    neighbours: torch.Tensor

    def whitened(self) -> torch.Tensor:
        """Return the (B, n, d + e) float32 components."""
        import torch

        return torch.cat([self.head.float(), self.detail.float() / STEPS], dim=2)

    def arrays(self) -> list[dict[str, np.ndarray]]:
        """Return what is kept of each image."""
        small = np.int16 if self.head.shape[1] < 2**15 else np.int32
        parts = {"head": self.head, "detail": self.detail, "neighbours": self.neighbours}
        whole = {name: tensor.cpu().numpy() for name, tensor in parts.items()}
        whole["neighbours"] = whole["neighbours"].astype(small)
        return [{name: array[i] for name, array in whole.items()} for i in range(len(self.head))]

    @classmethod
    def of(cls, kept: Sequence[Mapping[str, np.ndarray]], device: str) -> Reduced:
        """Bring images of one size back to a device."""
        import torch

        def joined(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([arrays[name] for arrays in kept])).to(device)

        return cls(joined("head"), joined("detail"), joined("neighbours").long())


class Reduction:
    """Reduces layers of many images to :class:`Reduced`.

    Args:
        normalizer: whitens stacked tokens, to the components of the head and then others.
        n_head: components of the head.
        layers: what is stacked.
        device: torch device to work on.

    Attributes:
        name: stands for all that the result depends on besides the image, to keep it by.
    """

    def __init__(self, normalizer: VectorNormalizer, n_head: int, layers: Sequence[str], device: str) -> None:
        self.device = device
        self.n_head = n_head
        self.layers = tuple(layers)
        mean, projection = normalizer.mean_, normalizer.projection_
        assert projection is not None
        variance = (projection * projection).sum(0)
        variance[variance == 0] = 1  # nothing varies there, and the column is 0
        self.mean, self.projection = self.sent(mean), self.sent(projection)
        self.shift = self.sent(-(mean @ projection))
        self.scale = self.sent(1 / np.sqrt(variance))
        self.lifting = self.sent((projection / variance).T.copy())
        identity = hashlib.sha256(repr((VERSION, self.layers, n_head, projection.shape)).encode())
        for array in (mean, projection):
            identity.update(array.tobytes())
        self.name = f"reduced-{identity.hexdigest()[:16]}"

    def sent(self, array: np.ndarray) -> torch.Tensor:
        """Return an array as float32 on the device."""
        import torch

        return torch.from_numpy(np.array(array, np.float32)).to(self.device)

    def stacked(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the (B, n, D) float32 tokens of the layers side by side, each of unit length."""
        import torch
        from torch.nn.functional import normalize

        return torch.cat([normalize(tensors[layer].float(), dim=2) for layer in self.layers], dim=2)

    def whiten(self, stacked: torch.Tensor) -> torch.Tensor:
        """Return the (B, n, d + e) float32 components of (B, n, D) stacked tokens, of variance 1."""
        import torch
        from torch.nn.functional import normalize

        b, n, _ = stacked.shape
        flat = normalize(stacked, dim=2).reshape(b * n, -1)
        return torch.addmm(self.shift, flat, self.projection).reshape(b, n, -1)

    def __call__(self, whitened: torch.Tensor) -> Reduced:
        """Reduce (B, n, d + e) whitened tokens."""
        import torch

        detail = (whitened[:, :, self.n_head :] * STEPS).round().clamp(-127, 127)
        return Reduced(
            whitened[:, :, : self.n_head].clamp(-6e4, 6e4).half(),
            detail.to(torch.int8),
            nearest_patches(whitened * self.scale),
        )

    def lift(self, whitened: torch.Tensor) -> torch.Tensor:
        """Return the (..., D) float32 tokens of which (..., d + e) are the whitened components.

        They are those of unit length; what the components leave out of them is lost.
        """
        return whitened @ self.lifting + self.mean

    def kept_of(self, image: ImageFeatures) -> dict[str, np.ndarray] | None:
        """Return what the memo of an image keeps of it, if it is whole: files may be damaged."""
        kept = image.memo.get(self.name)
        return kept if kept is not None and self._fits(kept, image.grid) else None

    def _fits(self, kept: Mapping[str, np.ndarray], grid: tuple[int, int]) -> bool:
        n = grid[0] * grid[1]
        d = len(self.scale)
        wanted = {
            "head": ((n, self.n_head), "f2"),
            "detail": ((n, d - self.n_head), "i1"),
            "neighbours": ((n, n_neighbours(n)), "i2" if n < 2**15 else "i4"),
        }
        alike = kept.keys() == wanted.keys() and all(
            (kept[name].shape, kept[name].dtype.str[1:]) == (shape, kind)
            for name, (shape, kind) in wanted.items()
        )
        if not alike or not np.isfinite(kept["head"]).all():
            return False
        near = kept["neighbours"]
        return not near.size or (int(near.min()) >= 0 and int(near.max()) < n)


def image_by_image(batch: FeatureBatch) -> Iterator[FeatureBatch]:
    """Yield what of a batch is worked on at once: all of it, or on a CPU image by image.

    There the libraries choose other kernels, which round otherwise, for other numbers of rows; an image that
    is treated alone does not depend on the rest of its batch.
    """
    for rows in groups_of(range(len(batch)), str(next(iter(batch.tensors.values())).device)):
        tensors = {name: tensor[rows[0] : rows[-1] + 1] for name, tensor in batch.tensors.items()}
        yield FeatureBatch([batch.images[row] for row in rows], tensors)


def groups_of(rows: Sequence[int], device: str) -> list[Sequence[int]]:
    """Return the rows that are worked on at once, see :func:`image_by_image`."""
    if device == "cpu" or not rows:
        return [[row] for row in rows]
    return [rows]
