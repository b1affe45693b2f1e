"""The public function :func:`label`: whatever names or holds images, into a run folder."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.progress import Progress
from ..common.remote import folder_of, url_of
from ..errors import UsageError
from ..images.listing import ImageItem, list_images, listed_view
from .cleaning import IMAGES
from .config import LabelConfig
from .given import given_sets, is_in_memory, list_given, remove_given, write_given
from .images import read_list
from .labels import DEFAULT_IGNORE, given_labels
from .pipeline import label_items
from .replacement import NEXT
from .result import LabelResult

if TYPE_CHECKING:
    import numpy as np
    from fiftyone.core.collections import SampleCollection
    from PIL import Image

    from .labels import Mask

    Path_ = str | os.PathLike[str]
    OneImage = Path_ | np.ndarray | Image.Image

__all__ = ["label"]


def label(
    images: OneImage | Iterable[OneImage] | SampleCollection,
    *,
    out: str | Path | None = None,
    model: str | Path | None = None,
    root: str | Path | None = None,
    shard: str | None = None,
    labels: str | Path | Mapping[str, Mask | str] | None = None,
    names: str | Path | Mapping[int, str] | None = None,
    ignore: Collection[int] = DEFAULT_IGNORE,
    discover: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    restart: bool | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> LabelResult:
    """Give every image a semantic pseudo-mask.

    Args:
        images: a folder, glob, text file of paths, or image file, also in a store (``s3://bucket/photos``);
            a PIL image or an (H, W, 3) uint8 array; a sequence of paths, PIL images and arrays, mixed as you
            like; or a FiftyOne dataset or view.
            What is in memory is written losslessly to ``given_images`` in the run's folder, under the names
            ``image-0001.png``, ``image-0002.png``, ..., by its place in the sequence.
        out: the run's folder, also in a store; ``None`` for a new temporary one (``result.out`` says where).
        model: ``DIR/model`` of an earlier run, to label without fitting.
        root: folder that the keys of the images are relative to, so that they do not depend on what else is
            labelled.
        shard: ``I/N``, with ``model``: label that part of the images, chosen by their keys;
            :func:`~fiftyone_plugin.runs.joining.join` makes one run of the parts.
        labels: masks of some of the images, to learn the classes from: a folder of masks that have the names
            of the images, or key of an image -> file of a mask or (H, W) ids. Parts may be left unlabelled.
        names: names of the ids in these masks: a file such as ``classes.json``, or id -> name.
        ignore: ids in them that mean nothing.
        discover: clusters that no labelled image shows and that stay as classes of their own, at most.
        resume: go on with an unfinished run in ``out``, see
            :func:`fiftyone_plugin.runs.pipeline.label_items`.
        overwrite: replace an earlier run in ``out``; a finished one stays until the new one is finished.
        restart: what ``overwrite`` was called; for one release.
        progress: where stages report to, e.g. :class:`fiftyone_plugin.common.progress.ConsoleProgress`.
        settings: fields of :class:`LabelConfig`, e.g. ``classes=10, seed=1``.

    Returns:
        The result: rows of samples, class names, the run's record and folder.

    Raises:
        UsageError: impossible settings, nothing to label, something that is no image, or ``out`` is taken.
        MissingDependencyError: weights or an asked-for refiner are not there.
        PseudoMaskError: not one image could be read, or the disk or memory ran short.

    Example:
        >>> result = label("photos/", out="labels", classes=10)  # doctest: +SKIP
        >>> result  # doctest: +SKIP
        LabelResult('labels': 120 labelled, 1 skipped, 10 classes)
        >>> result.mask("beach/1.jpg").shape  # doctest: +SKIP
        (1080, 1920)
    """
    if restart is not None:
        warnings.warn("restart is called overwrite now", DeprecationWarning, stacklevel=2)
    config = LabelConfig(**settings)
    folder = folder_of(out) if out is not None else Path(tempfile.mkdtemp(prefix="pseudomask-"))
    before = {path.name for path in list_given(folder)}
    made = out is None or (url_of(out) is None and not os.path.lexists(folder))
    try:
        items = _list(images, folder, root, shard)
        return label_items(
            items,
            folder,
            config,
            model=folder_of(model) if model is not None else None,
            labels=given_labels(items, labels, names, ignore, discover),
            resume=resume,
            restart=overwrite or bool(restart),
            progress=progress,
        )
    except BaseException:
        _forget_given(folder, before)
        if made:
            with suppress(OSError):  # a run that began is in it
                folder.rmdir()
        raise


def _list(images: Any, out: Path, root: Path_ | None, shard: str | None) -> Sequence[ImageItem]:
    """Return the images to label; those in memory are written below the run's folder."""
    if hasattr(images, "iter_samples"):
        return listed_view(images, root=root, shard=shard)
    if isinstance(images, (str, os.PathLike)) or url_of(images) is not None:
        return list_images(images, root=root, shard=shard)
    if is_in_memory(images):
        images = [images]
    if not isinstance(images, Iterable) or isinstance(images, (bytes, dict)):
        raise UsageError(f"cannot label {_kind(images)}; give {FORMS}")
    each: list[Any] = [url_of(image) or image for image in images]
    for number, image in enumerate(each, 1):
        if not isinstance(image, (str, os.PathLike)) and not is_in_memory(image):
            raise UsageError(f"image {number} of the sequence is {_kind(image)}; give {FORMS}")
    inside = [(number, image) for number, image in enumerate(each, 1) if is_in_memory(image)]
    if not inside:
        return list_images(each, root=root, shard=shard)
    if root is not None or shard is not None:
        raise UsageError("root and shard are for images in files; write those in memory to a folder first")
    written = iter(write_given(inside, out))
    return list_images([next(written) if is_in_memory(image) else image for image in each])


FORMS = (
    "a folder, glob, list file, paths, a FiftyOne dataset or view, PIL images or (H, W, 3) uint8 arrays; of "
    "a torch tensor (3, H, W) in 0..1: (tensor.permute(1, 2, 0) * 255).byte().numpy()"
)


def _kind(value: object) -> str:
    kind = type(value)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return f"something of type {module}{kind.__name__}"


def _forget_given(out: Path, before: set[str]) -> None:
    """Remove images written for a run that never began; an interrupted one still needs them."""
    if not list_given(out):
        return
    keep = set(before)
    for work in (out / ".work", out / ".work" / NEXT / ".work"):
        with suppress(UsageError):
            keep |= given_sets(read_list(work / IMAGES) or [])
    remove_given(out, keep)
