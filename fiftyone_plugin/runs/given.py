"""Images that are given in memory: written losslessly below the folder of their run, which owns them.

They lie in ``given_images/<digest of all of them>/image-0001.png`` and so on, so that the same images have
the same names and stamps again, and those of a run that is to be replaced stay beside those of the new one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.files import atomic, is_partial, remove_empty
from ..common.remote import url_of
from ..errors import PseudoMaskError, UsageError
from ..images.listing import ImageItem
from ..images.reading import image_to_rgb

if TYPE_CHECKING:
    from PIL import Image

    InMemory = np.ndarray | Image.Image

__all__ = ["FOLDER", "given_sets", "is_in_memory", "list_given", "remove_given", "write_given"]

FOLDER = "given_images"
WRITTEN = 946_684_800  # time of change of every such file, seconds: content alone tells them apart
_SET = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"image-\d{4,}\.png")


def is_in_memory(image: object) -> bool:
    """Tell whether this is a PIL image or an array."""
    from PIL import Image

    return isinstance(image, (np.ndarray, Image.Image))


def write_given(images: Sequence[tuple[int, InMemory]], out: Path) -> list[Path]:
    """Write images below the folder of a run; what is there already stays. Returns their files.

    Each is given with its number in its sequence, from 1, and is a PIL image or (H, W, 3) uint8 RGB.

    Raises:
        UsageError: an array of another shape or type, or a folder on the way is a link.
        PseudoMaskError: a PIL image cannot be decoded, or a file cannot be written.
    """
    from PIL import Image

    if url_of(out) is not None:
        raise UsageError(f"images in memory go to a run on the disk, not to {out}; write them to files first")
    arrays = [(number, _pixels(image, number)) for number, image in images]
    digest = hashlib.sha256()
    for number, array in arrays:
        digest.update(f"{number} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    folder = out / FOLDER / digest.hexdigest()[:16]
    for path in (out / FOLDER, folder):
        if path.is_symlink():
            raise UsageError(f"{path} is a link: a run writes only below its own folder; remove it")
    files = [folder / f"image-{number:04}.png" for number, _ in arrays]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, (_, array) in zip(files, arrays, strict=True):
            if not file.is_file():
                with atomic(file) as partial:
                    Image.fromarray(array).save(partial, "PNG", compress_level=1)
                    os.utime(partial, (WRITTEN, WRITTEN))
    except OSError as error:
        raise UsageError(f"cannot write to {out}: {error.strerror or error}") from error
    return files


def _pixels(image: InMemory, number: int) -> np.ndarray:
    """Return (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray):
        try:
            return image_to_rgb(image)
        except (OSError, ValueError, SyntaxError) as error:
            raise PseudoMaskError(f"image {number} cannot be decoded: {error}; leave it out") from error
    if image.ndim == 3 and image.shape[2] == 3 and image.size and image.dtype == np.uint8:
        return image
    advice = "convert it first"
    if image.ndim == 4:
        advice = "for several images give a list: list(array)"
    elif image.ndim == 2:
        advice = "for grey: np.stack([array] * 3, axis=-1)"
    elif image.ndim == 3 and image.shape[0] == 3:
        advice = "for channels first: array.transpose(1, 2, 0)"
    elif image.dtype != np.uint8 and image.ndim == 3:
        advice = "for values 0..1: (array * 255).round().astype(np.uint8)"
    found = f"an array of shape {image.shape} and {image.dtype}"
    raise UsageError(f"image {number} is {found}, not (H, W, 3) uint8 RGB; {advice}")


def given_sets(items: Iterable[ImageItem]) -> set[str]:
    """Return the folders below :data:`FOLDER` that these images lie in, by name."""
    folders = {Path(item.path).parent for item in items}
    return {folder.name for folder in folders if folder.parent.name == FOLDER}


def list_given(out: Path) -> list[Path]:
    """Return the folders of given images below a run's folder; links are passed over."""
    if url_of(out) is not None:
        return []
    root = out / FOLDER
    if os.path.islink(root) or not os.path.isdir(root):  # no error for a name that is too long
        return []
    found = [path for path in sorted(root.iterdir()) if _SET.fullmatch(path.name)]
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def remove_given(out: Path, keep: Collection[str] = ()) -> None:
    """Remove the images that :func:`write_given` wrote below a run's folder, but for the sets to keep."""
    for folder in list_given(out):
        if folder.name in keep:
            continue
        for file in list(folder.iterdir()):
            if _NAME.fullmatch(file.name) or is_partial(file.name):
                file.unlink(missing_ok=True)
        remove_empty(folder)
    if url_of(out) is None and not os.path.islink(out / FOLDER):
        remove_empty(out / FOLDER)
