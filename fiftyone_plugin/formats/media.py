"""Images of an export: copied, linked or left where they are."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..common.remote import url_of
from ..images.reading import image_format, open_image, orientation_turn, read_file
from .staging import WriteError, writing

__all__ = ["MEDIA_MODES", "fitting_suffix", "place_image"]

MEDIA_MODES = ("copy", "symlink", "reference")
ORIENTATION = 0x0112
# what every program opens by its content, whichever of these its name ends in
EVERYDAY = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
USUAL = {"JPEG": ".jpg", "MPO": ".jpg", "JPEG2000": ".jp2", "PNG": ".png", "TIFF": ".tif", "PPM": ".ppm"}


def fitting_suffix(path: str, suffix: str) -> str:
    """Return the extension that the copy of an image gets, with its dot.

    Args:
        path: the image.
        suffix: what its name ends in: kept where it is that of the image's format, or an everyday one;
            otherwise (``""``, ``.jpg_large``, ``.psd`` of a TIFF) replaced, since readers go by it.

    Raises:
        ImageReadError: it cannot be opened.
    """
    from PIL import Image

    name = image_format(path)
    known = Image.registered_extensions()
    if suffix.lower() in EVERYDAY or known.get(suffix.lower()) == name:
        return suffix
    return USUAL.get(name) or min((ext for ext, kind in known.items() if kind == name), default=suffix)


def place_image(source: str, target: Path, mode: str) -> None:
    """Put an image into the export.

    Masks are upright, as the image is shown, and most training code ignores an orientation in EXIF: a copy of
    an image that :func:`~..images.reading.read_image` turns is written upright. PNG loses nothing by
    that; JPEG is compressed anew, at quality 95 without subsampling of colours.

    Args:
        source: absolute path of the image.
        target: where it goes; folders are made.
        mode: ``copy`` (byte for byte, unless stored turned), ``symlink``, or ``reference`` (nothing is
            done).

    Raises:
        WriteError: the target cannot be written.
        ImageReadError: the image must be turned and cannot be read.
    """
    if mode == "reference":
        return
    if mode == "copy" and _place_upright(source, target):
        return
    with writing(target, make_folder=True):
        if mode == "symlink" and url_of(source) is not None:
            raise WriteError(f"no link can lead to {source}, which is in a store: choose --images copy")
        if mode == "symlink":
            target.symlink_to(source)
        elif (url := url_of(source)) is not None:
            target.write_bytes(read_file(url))
        else:  # neither mode nor times
            shutil.copyfile(source, target)


def _place_upright(source: str, target: Path) -> bool:
    """Write an image stored turned upright; return ``False`` and write nothing where it is not turned."""
    with open_image(source) as image:
        turn = orientation_turn(image)
        if turn is None:
            return False
        kind = "JPEG" if image.format == "MPO" else str(image.format)
        exif = image.getexif()
        exif.pop(ORIENTATION, None)
        options = {"exif": exif.tobytes(), "icc_profile": image.info.get("icc_profile")}
        options |= {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        upright = image.transpose(turn)
    with writing(target, make_folder=True):
        upright.save(target, format=kind, **options)
    return True
