"""Images of an export: copied, linked or left where they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..images import read_image
from .staging import writing

__all__ = ["MEDIA_MODES", "has_orientation", "place_image"]

MEDIA_MODES = ("copy", "symlink", "reference")
ORIENTATION = 0x0112
TURNED_FORMATS = ("JPEG", "MPO", "PNG", "AVIF")


def has_orientation(path: str) -> bool:
    """Return whether an image is stored turned or mirrored, with an EXIF tag that says so.

    Masks are upright, as the image is shown; most training code ignores the tag.
    """
    from PIL import Image

    with Image.open(path) as image:
        if image.format not in TURNED_FORMATS:
            return False
        return image.getexif().get(ORIENTATION, 1) in range(2, 9)


def place_image(source: str, target: Path, mode: str) -> None:
    """Put an image into the export.

    Args:
        source: absolute path of the image.
        target: where it goes; folders are made.
        mode: ``copy`` (byte for byte, but images stored turned are written upright), ``symlink``, or
            ``reference`` (nothing is done).

    Raises:
        WriteError: the target cannot be written.
        ImageReadError: the image must be turned and cannot be read.
    """
    if mode == "reference":
        return
    upright = read_image(source) if mode == "copy" and has_orientation(source) else None
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if mode == "symlink":
            target.symlink_to(source)
        elif upright is None:
            shutil.copyfile(source, target)
        else:
            from PIL import Image

            options: dict[str, Any] = (
                {"quality": 95, "subsampling": 0} if target.suffix.lower() in (".jpg", ".jpeg") else {}
            )
            Image.fromarray(upright).save(target, **options)
