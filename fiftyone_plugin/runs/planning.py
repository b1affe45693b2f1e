"""From the settings of a run to what is needed to estimate it, without loading anything heavy."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..common.paths import cache_dir
from ..masks.refine import DEFAULT_REFINER
from .estimate import Plan, likely_device

__all__ = ["plan_run", "spread"]

SAMPLED = 3  # images of the beginning, the middle and the end


def plan_run(
    images: int,
    paths: Sequence[str],
    *,
    method: str,
    backbone: str | None,
    size: int,
    refine: str | None,
    device: str = "auto",
    fitted: bool = False,
    kept: bool = False,
    tiles: int = 1,
    **limits: int,
) -> Plan:
    """Complete the settings of a run as the run itself would.

    They are those of :class:`~fiftyone_plugin.runs.config.LabelConfig`, the others those of
    :class:`~.estimate.Plan`. ``paths`` are some of the images, of which the share with cached features is
    taken, if features are ``kept``; ``limits`` are ``fit_images`` and ``cache_limit``, where they are not the
    defaults.
    """
    from ..features.backbones.registry import default_here
    from ..features.cache import cached_share

    name = backbone or default_here()
    found = re.search(r"_patch(\d+)", name)
    patch = int(found.group(1)) if found else 14
    size = max(1, round(size / patch)) * patch  # as the backbone rounds it
    return Plan(
        images=images,
        method=method,
        backbone=name,
        size=size,
        refine=refine or DEFAULT_REFINER,
        device=likely_device() if device == "auto" else device.split(":")[0],
        cached=cached_share(paths, name, size, cache_dir(), tiles) if kept else 0.0,
        fitted=fitted,
        kept=kept,
        tiles=tiles,
        **limits,
    )


def spread(images: int) -> list[int]:
    """Return positions at the beginning, the middle and the end of so many images."""
    starts = (0, images // 2, max(0, images - SAMPLED))
    return sorted({i for start in starts for i in range(start, min(images, start + SAMPLED))})
