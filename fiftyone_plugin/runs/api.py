"""The public function :func:`label`: whatever names images, into a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.progress import Progress
from ..errors import UsageError
from ..images.listing import ImageItem, list_images
from .config import LabelConfig
from .pipeline import label_items
from .result import LabelResult

__all__ = ["label"]


def label(
    images: Any,
    *,
    out: str | Path | None = None,
    model: str | Path | None = None,
    resume: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> LabelResult:
    """Give every image a semantic pseudo-mask.

    Args:
        images: a folder, glob, text file of paths, sequence of paths, or a FiftyOne dataset or view.
        out: the run's folder; ``None`` for a new temporary one (``result.out`` says where).
        model: ``DIR/model`` of an earlier run, to label without fitting.
        resume: go on with an unfinished run in ``out``, see :func:`label_items`.
        restart: replace an earlier run in ``out``; a finished one stays until the new one is finished.
        progress: where stages report to, e.g. :class:`fiftyone_plugin.common.progress.ConsoleProgress`.
        settings: fields of :class:`LabelConfig`, e.g. ``classes=10, seed=1``.

    Returns:
        The result: rows of samples, class names, the run's record and folder.

    Example:
        >>> result = label("photos/", out="labels", classes=10)  # doctest: +SKIP
        >>> len(result.labelled), len(result.skipped)  # doctest: +SKIP
        (120, 1)
    """
    import tempfile

    if hasattr(images, "iter_samples"):
        from ..images.listing import list_view

        items: Sequence[ImageItem] = [entry.item for entry in list_view(images)]
    else:
        items = list_images(images)
    try:
        config = LabelConfig(**settings)
    except TypeError as error:
        raise UsageError(f"unknown setting: {error}") from error
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="pseudomask-"))
    return label_items(
        items,
        folder,
        config,
        model=Path(model) if model is not None else None,
        resume=resume,
        restart=restart,
        progress=progress,
    )
