"""Images seen twice: as a whole, and in overlapping tiles of a finer copy, fused to the tokens of one grid.

A patch of the whole image sees where it lies in the scene, one of a tile sees small and thin things at the
scale at which the network knows them. Their tokens, both of unit length, are averaged: everything behind them
works on the grid of the whole image as before. Cost: 1 + n^2 forward passes an image instead of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.parallel import one_thread
from .source import ImageFeatureSource

if TYPE_CHECKING:
    import torch

    from .backbones import Backbone
    from .store import FeatureStore

__all__ = ["TiledSource", "fine_patches", "fuse", "open_source", "pooling", "views"]

OVERLAP = 4  # neighbouring tiles share a quarter of their side


def fine_patches(patches: int, tiles: int) -> int:
    """Return the patches along a side of the finer copy, of which a tile has as many as the whole image."""
    return tiles * patches - (tiles - 1) * (patches // OVERLAP)


def _offsets(patches: int, tiles: int) -> list[int]:
    return [n * (patches - patches // OVERLAP) for n in range(tiles)]


def views(pixels: torch.Tensor, patches: int, patch: int, tiles: int) -> list[torch.Tensor]:
    """Cut finer copies into what goes through the network: the whole images, then the tiles row by row.

    Args:
        pixels: (B, F, F, 3) uint8, F = :func:`fine_patches` x ``patch``.
        patches: along a side of a view.
        patch: side of a patch in pixels.
        tiles: along a side of the image.

    Returns:
        1 + tiles^2 tensors, (B, S, S, 3) uint8.
    """
    from torch.nn.functional import interpolate

    side = patches * patch
    planes = pixels.permute(0, 3, 1, 2).float()
    whole = interpolate(planes, (side, side), mode="bicubic", antialias=True, align_corners=False)
    starts = [offset * patch for offset in _offsets(patches, tiles)]
    return [
        whole.round().clamp(0, 255).byte().permute(0, 2, 3, 1),
        *(pixels[:, y : y + side, x : x + side] for y in starts for x in starts),
    ]


@cache
def pooling(patches: int, tiles: int) -> np.ndarray:
    """Return what averages the tokens of a row of tiles to those of the whole image, along one axis.

    Where tiles overlap, each counts the less the nearer its border is; then the finer patches are averaged by
    the share of them that lies in a patch of the whole image.

    Returns:
        (tiles, patches, patches) float32, by tile, patch of the whole image and patch of the tile; what leads
        to one patch of the whole image sums to 1.
    """
    fine, overlap = fine_patches(patches, tiles), patches // OVERLAP
    edges = np.linspace(0, fine, patches + 1)
    left, right = edges[:-1, None], edges[1:, None]
    cells = np.arange(fine)
    share = np.clip(np.minimum(right, cells + 1) - np.maximum(left, cells), 0, None) / (fine / patches)
    found = np.zeros((tiles, patches, patches))
    ramp = (np.arange(overlap) + 0.5) / max(1, overlap)
    for n, offset in enumerate(_offsets(patches, tiles)):
        weight = np.ones(patches)
        if n > 0:
            weight[:overlap] = ramp
        if n < tiles - 1:
            weight[patches - overlap :] = ramp[::-1]
        found[n] = share[:, offset : offset + patches] * weight
    return found.astype(np.float32)


def fuse(whole: torch.Tensor, tiles: Sequence[torch.Tensor], patches: int) -> torch.Tensor:
    """Average the tokens of whole images and of their tiles.

    Args:
        whole: (B, n, D) float16, n = patches^2.
        tiles: row by row, each (B, n, D) float16.
        patches: along a side.

    Returns:
        (B, n, D) float16: half the unit tokens of the whole, half the pooled unit tokens of the tiles.
    """
    import torch
    from torch.nn.functional import normalize

    b, n, d = whole.shape
    count = round(len(tiles) ** 0.5)
    weights = torch.from_numpy(pooling(patches, count)).to(whole.device)
    pooled = torch.zeros((b, patches, patches, d), device=whole.device)
    for i, tokens in enumerate(tiles):
        grid = normalize(tokens.float(), dim=2).reshape(b, patches, patches, d)
        rows = torch.einsum("yv,bvxd->byxd", weights[i // count], grid)
        pooled += torch.einsum("xu,byud->byxd", weights[i % count], rows)
    fused = normalize(whole.float(), dim=2) + normalize(pooled.reshape(b, n, d), dim=2)
    return (fused / 2).half()


class TiledSource(ImageFeatureSource):
    """Features of images that are seen as a whole and in ``tiles`` a side, 2 or more.

    Other arguments are those of :class:`~.source.ImageFeatureSource`; a store must be of these tiles.
    """

    def __init__(self, *args: Any, tiles: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.tiles = tiles
        self.side = fine_patches(self.grid[0], tiles) * self.backbone.patch_size

    def forward(
        self, pixels: np.ndarray | Sequence[np.ndarray], layers: list[str], backbone: Backbone | None = None
    ) -> dict[str, torch.Tensor]:
        """Run the views of (n, F, F, 3) pixels through the network, one kind after the other, and fuse them.

        What tells objects from their background (keys, ``attn``) or is said of all (``cls``) is that of the
        whole image.
        """
        import torch

        patches = self.grid[0]
        stacked = torch.from_numpy(np.array(pixels))
        # an image by itself, so that its last bits do not depend on the rest of the batch
        apart = [views(one[None], patches, self.backbone.patch_size, self.tiles) for one in stacked]
        seen = [torch.cat(parts).numpy() for parts in zip(*apart, strict=True)]
        dense = [layer for layer in layers if layer == "out" or layer.startswith("t")]
        found = super().forward(seen[0], layers, backbone)
        if not dense:
            return found
        tiled = [super(TiledSource, self).forward(view, dense, backbone) for view in seen[1:]]
        with one_thread():
            for layer in dense:
                each = [
                    fuse(found[layer][i : i + 1], [tile[layer][i : i + 1] for tile in tiled], patches)
                    for i in range(len(stacked))
                ]
                found[layer] = torch.cat(each)
        return found


def open_source(*args: Any, tiles: int, store: FeatureStore | None, **options: Any) -> ImageFeatureSource:
    """Return a source of images that are seen in so many tiles a side besides, 1 for none.

    Other arguments are those of :class:`~.source.ImageFeatureSource`. The store is of the features of whole
    images; those of tiles go to one beside it.
    """
    if tiles == 1:
        return ImageFeatureSource(*args, store=store, **options)
    beside = store and type(store)(store.cache, {**store.spec, "tiles": tiles}, store.limit_bytes)
    return TiledSource(*args, tiles=tiles, store=beside, **options)
