"""From soft scores at patch level and photographs to soft scores that follow the pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..common.parallel import Threads, one_thread
from ..errors import unknown
from ..images.reading import resize_image
from .meanfield import MeanField
from .pydense import PyDenseCRF
from .scores import DeviceScores

if TYPE_CHECKING:
    import torch

__all__ = ["DEFAULT_REFINER", "REFINERS", "Refiner", "create_refiner", "guide_of", "make_guide"]
__all__ += ["refine_all", "refine_image"]

TOGETHER = 1 << 28  # numbers that a refiner may hold, 1 GB in float32: of each pixel some OWN and its scores
OWN = 32


class Refiner(Protocol):
    """Brings patch scores to the pixels of the photographs, in batches, on the device of the scores."""

    @property
    def guide_side(self) -> int:
        """Side in pixels of the guides that it takes, 0 for one that takes none."""

    def __call__(
        self, scores: torch.Tensor, guide: torch.Tensor | None, sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Refine a batch.

        Args:
            scores: (B, L, h, w) float32, >= 0, sums to 1 over L; zero everywhere for labels that an image
                has not.
            guide: (B, G, G, 3) uint8, G = :attr:`guide_side`: the photographs, squeezed to a square;
                ``None`` where that is 0.
            sizes: native (height, width) of each.

        Returns:
            (B, L, h', w') float32, sums to 1 over L. Does not depend on the other images of the batch.
        """


class Unrefined:
    """No refinement: the scores as they are; what makes labels of them enlarges them."""

    guide_side = 0

    def __call__(
        self, scores: torch.Tensor, guide: torch.Tensor | None, sizes: Sequence[tuple[int, int]]
    ) -> torch.Tensor:
        """Return the scores, see :class:`Refiner`."""
        return scores


REFINERS: dict[str, Callable[[], Refiner]] = {"crf": MeanField, "pydensecrf": PyDenseCRF, "none": Unrefined}
DEFAULT_REFINER = "crf"


def create_refiner(name: str) -> Refiner:
    """Build a refiner by name.

    Raises:
        UsageError: unknown name.
    """
    if name not in REFINERS:
        raise unknown("refinement", name, REFINERS)
    return REFINERS[name]()


def make_guide(pixels: torch.Tensor, side: int) -> torch.Tensor:
    """Bring squeezed photographs down to the side that a refiner works at, each pixel a mean over its area.

    Squeezed to a square, as the network sees them, the images of a batch have one shape whatever their native
    size, and a refiner can take them together.

    Of (B, S, S, 3) uint8 pixels, as the network takes them, it is (B, side, side, 3) uint8 on their device.

    Raises:
        ValueError: the photographs are smaller than that; read them larger.
    """
    import torch.nn.functional as F

    if pixels.shape[1] == side:
        return pixels
    if pixels.shape[1] < side:
        raise ValueError(f"a guide of {side} pixels cannot be made from {pixels.shape[1]}")
    planes = pixels.permute(0, 3, 1, 2).float()
    small = F.interpolate(planes, size=(side, side), mode="area")
    return small.round_().byte().permute(0, 2, 3, 1)


def guide_of(image: np.ndarray, side: int) -> torch.Tensor:
    """Return the guide of one photograph, (H, W, 3) uint8 at its native size, as (1, side, side, 3) uint8."""
    import torch

    return torch.from_numpy(resize_image(image, side, side)[None])


def refine_all(
    refiner: Refiner,
    scores: Sequence[DeviceScores],
    guide: torch.Tensor | None,
    sizes: Sequence[tuple[int, int]],
    threads: Threads | None = None,
) -> list[torch.Tensor]:
    """Refine the scores of several images: one by one on a CPU, else in as large batches as fit.

    Args:
        refiner: what to do.
        scores: of B images; those that are refined, or have one label, pass as they are.
        guide: (B, G, G, 3) uint8, G = ``refiner.guide_side``, on the device of the scores; ``None`` for
            a refiner that takes none.
        sizes: native (height, width) of each.
        threads: work at several images at once on a CPU.

    Returns:
        B times (L, h', w') float32, sums to 1 over L, on the same device.
    """
    import torch

    found = [each.scores for each in scores]
    todo = [i for i, each in enumerate(scores) if not each.refined and len(each.labels) > 1]
    todo.sort(key=lambda i: (found[i].shape[1:], len(found[i])))  # equal shapes side by side
    on_cpu = bool(todo) and found[todo[0]].device.type == "cpu"
    groups: list[list[int]] = []
    for i in todo:
        group = groups[-1] if groups else []
        grid = found[i].shape[1:]
        size = (len(group) + 1) * (OWN + len(found[i])) * max(refiner.guide_side**2, math.prod(grid))
        # on a CPU what follows does not depend on the batch, to the byte
        if group and not on_cpu and found[group[0]].shape[1:] == grid and size <= TOGETHER:
            group.append(i)
        else:
            groups.append([i])

    def refine(some: list[int]) -> torch.Tensor:
        batch = found[some[0]].new_zeros((len(some), len(found[some[-1]]), *found[some[0]].shape[1:]))
        for row, i in enumerate(some):
            batch[row, : len(found[i])] = found[i]
        own = None if guide is None else guide[torch.tensor(some, device=guide.device)]
        with torch.inference_mode():
            return refiner(batch, own, [sizes[i] for i in some])

    with one_thread() if on_cpu else nullcontext():  # the last bits depend on threads
        refined = threads.each(refine, groups) if on_cpu and threads else map(refine, groups)
        for some, values in zip(groups, refined, strict=True):
            for row, i in enumerate(some):
                found[i] = values[row, : len(found[i])]
    return found


def refine_image(
    refiner: Refiner, scores: np.ndarray, size: tuple[int, int], read_image: Callable[[], np.ndarray]
) -> np.ndarray:
    """Refine the scores of one image in memory.

    Args:
        refiner: what to do.
        scores: (L, h, w) float, >= 0, sums to 1 over L.
        size: native (height, width).
        read_image: returns the native (H, W, 3) uint8 image; not called where the refiner needs none.

    Returns:
        (L, h', w') float32, sums to 1 over L.

    Raises:
        ImageReadError: the image cannot be read any more.
    """
    import torch

    values = torch.from_numpy(np.array(scores, np.float32, order="C"))
    guide = guide_of(read_image(), refiner.guide_side) if refiner.guide_side else None
    found = refine_all(refiner, [DeviceScores(np.arange(len(values)), values)], guide, [size])
    return np.asarray(found[0].numpy())
