"""Mask files: the one reader and the one writer of class ids.

Masks are PNG, BMP, TIFF or lossless WebP files, told by their content and not by their name; the first frame
or page counts. Formats that change values (JPEG, lossy WebP, JPEG 2000, ...) or renumber them (GIF) are
refused. What the pixels become depends on the :class:`~fiftyone_plugin.masks.rules.MaskRules`:

==========================  ======================================  =====================================
pixels                      ids (``colours`` False or None)         targets are colours (``colours`` True)
==========================  ======================================  =====================================
8-bit grey                  the value                               grey 128 is ``#808080``
16, 32-bit integers         the value                               the value
floats                      refused                                 refused
one bit                     0 and 1                                 ``#000000`` and ``#ffffff``
2 and 4-bit grey            the grey level, 0..255                  the colour of the grey
indexed (palette)           the index; the grey level where all     the palette's colour
                            colours are grey, but not just black
                            and white, and differ from the indices
grey and alpha              the grey level                          the colour of the grey
RGB, RGBA, R = G = B        that value                              the colour
RGB, RGBA with colours      refused; 0xRRGGBB if None               the colour, 0xRRGGBB
==========================  ======================================  =====================================

Where a file of one, two or four bits, a grey palette or grey under colours can be read in two ways and the
names of ids are known, the way that gives more of its values a name is taken. Alpha plays no part. Lossless
optimisers (oxipng, pngquant) sort palettes: grey ones are read right, colours only where the targets are
colours. Ids are within 0..16,777,215; EXIF orientation is not applied.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ..common.files import atomic
from ..errors import ImageReadError, UsageError
from ..images.reading import MAX_PIXELS, PathLike, open_image, read_file
from .rules import COLOURS, FIFTYONE, IDS, MAX_ID, MaskRules

__all__ = ["COLOURS", "FIFTYONE", "IDS", "MaskRules", "NotAMaskError", "is_whole", "load_mask", "mask_ids"]
__all__ += ["packed_colours", "read_colours", "read_mask", "read_mask_file", "write_mask"]

# what Pillow may try: the last ones are recognised for the sake of the message and never decoded
LOSSLESS = ("PNG", "BMP", "TIFF", "WEBP")
REFUSED = ("JPEG", "GIF", "JPEG2000", "AVIF")
CHANGING = {"JPEG": "JPEG", "MPO": "JPEG", "JPEG2000": "JPEG 2000", "AVIF": "AVIF", "GIF": "GIF"}
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"  # the last chunk of every PNG: no data, its name, its checksum
LOSSY_TIFF = frozenset({"jpeg", "tiff_jpeg", "webp"})


class NotAMaskError(ImageReadError):
    """A file that can be read, but does not hold class ids."""


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write an (H, W) mask of class ids as a single-channel PNG: uint8, or uint16 if an id exceeds 255.

    The file appears whole or not at all.

    Raises:
        UsageError: an id is negative or above 65,535.
    """
    low, high = int(mask.min()), int(mask.max())
    if low < 0 or high > 65_535:
        raise UsageError(f"{path}: class ids must be within 0..65535, got {low}..{high}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as partial:
        Image.fromarray(mask.astype(np.min_scalar_type(high))).save(partial, format="PNG")


def is_whole(path: Path) -> bool:
    """Tell whether a file that :func:`write_mask` wrote is there to its end, by a look at that end.

    A loss of power, unlike a kill, may leave a file that is there and empty or cut short.
    """
    try:
        if not path.is_file():  # a pipe would be waited for, and a device has no end
            return False
        with path.open("rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            return file.read() == PNG_END
    except OSError:  # not there, no file, or shorter than that
        return False


def read_mask(path: PathLike, rules: MaskRules = IDS, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Return the ids of a mask file; the module's table says what becomes of which pixels.

    Args:
        path: a regular file.
        rules: what the pixels mean; default: ids, and no colours.
        max_pixels: largest width x height accepted, checked before anything is decoded.

    Returns:
        (H, W) ids within 0..16,777,215, of the smallest of uint8, uint16 and uint32 that the pixels need.

    Raises:
        ImageReadError: missing, no regular file, empty, truncated, damaged, too large, of a format that does
            not keep ids, or no mask of ids.
    """
    with _open_mask(path, max_pixels) as image:
        rawmode = _rawmode(image)
        if ";16" in rawmode and image.mode in ("LA", "RGB", "RGBA", "RGBX"):
            raise NotAMaskError(path, "not a mask of class ids: 16 bits a channel; save ids as a grey PNG")
        image.load()
        if image.mode in ("LA", "RGBA"):
            *colours, alpha = np.ptp(np.asarray(image), axis=(0, 1))
            if alpha and not any(colours):
                raise NotAMaskError(path, "not a mask of class ids: only its alpha channel holds anything")
        return _decode(image, rawmode, rules, path)


def read_colours(path: PathLike) -> np.ndarray:
    """Return the colours of a mask file, (H, W, 3) uint8 RGB; of an indexed one, those of its palette.

    Raises:
        ImageReadError: as :func:`read_mask`, or it holds numbers that are no colours.
    """
    with _open_mask(path, MAX_PIXELS) as image:
        if ";16" in _rawmode(image) or image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX"):
            raise NotAMaskError(path, f"not a picture of 8-bit colours, but of kind {image.mode}")
        image.load()
        return np.asarray(image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB"))


def mask_ids(pixels: np.ndarray, rules: MaskRules = FIFTYONE, name: object = "the mask") -> np.ndarray:
    """Return the ids of a mask in memory.

    Args:
        pixels: (H, W) or (H, W, 1) bool or whole numbers, which are the ids, or (H, W, 3 or 4) uint8 colours.
        rules: what colours mean.
        name: what it is called in errors.

    Returns:
        (H, W) as :func:`read_mask`.

    Raises:
        NotAMaskError: no mask of ids.
    """
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    coloured = pixels.ndim == 3 and pixels.shape[2] in (3, 4) and pixels.dtype == np.uint8
    if not coloured and (pixels.ndim != 2 or pixels.dtype.kind not in "iub"):
        raise NotAMaskError(
            name,
            "not a mask of class ids: expected one channel of whole numbers, got "
            f"{pixels.dtype} of shape {pixels.shape}",
        )
    if not pixels.size:
        raise NotAMaskError(name, "has no pixels")
    return _from_colours(pixels, rules, name) if coloured else _whole(pixels, name)


@contextmanager
def _open_mask(path: PathLike, max_pixels: int) -> Iterator[Image.Image]:
    """Yield the opened, not yet decoded Pillow image of a mask file.

    Raises:
        ImageReadError: it cannot be read, or has a format that does not keep ids.
    """
    try:
        with open_image(path, max_pixels, (*LOSSLESS, *REFUSED)) as image:
            if image.format in CHANGING:
                verb = "renumbers" if image.format == "GIF" else "changes"
                raise NotAMaskError(path, f"{CHANGING[image.format]} {verb} ids; save masks as PNG")
            if image.format == "TIFF" and image.info.get("compression") in LOSSY_TIFF:
                raise NotAMaskError(path, "a TIFF compressed as JPEG or WebP changes ids; save masks as PNG")
            if image.format == "WEBP" and read_file(path)[12:16] != b"VP8L":
                raise NotAMaskError(path, "lossy WebP changes ids; save masks as PNG")
            yield image
    except NotAMaskError:
        raise
    except ImageReadError as error:
        raise ImageReadError(path, f"cannot be read as a mask ({error.reason})") from error


def _decode(image: Image.Image, rawmode: str, rules: MaskRules, path: PathLike) -> np.ndarray:
    if image.mode == "P":
        return _from_palette(image, rules)
    if image.mode in ("1", "L"):
        narrow = re.match(r"L;([24])", rawmode)
        bits = 1 if image.mode == "1" else int(narrow[1]) if narrow else 8
        return _from_grey(np.asarray(image, np.uint8), bits, rules)
    if image.mode == "LA":
        return _from_grey(np.asarray(image.getchannel("L")), 8, rules)
    if image.mode in ("RGB", "RGBA", "RGBX"):
        return _from_colours(np.asarray(image), rules, path)
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _whole(np.asarray(image), path)
    if image.mode == "F":
        raise NotAMaskError(path, "not a mask of class ids: it holds floats; save whole numbers")
    raise NotAMaskError(path, f"not a mask of class ids: its pixels are of kind {image.mode}")


def _from_grey(grey: np.ndarray, bits: int, rules: MaskRules) -> np.ndarray:
    """Return ids of (H, W) grey levels: 0..255, or 0 and 1 of one bit."""
    if bits == 8 and not rules.colours:
        return grey
    values = np.arange(256)
    levels = values * 255 if bits == 1 else values
    stored = values if bits == 1 else values // (255 // (2**bits - 1))
    if rules.colours:
        return _look_up(grey, [levels * 0x010101, levels, stored], rules)
    return _look_up(grey, [stored, levels] if bits == 1 else [levels, stored], rules)


def _from_palette(image: Image.Image, rules: MaskRules) -> np.ndarray:
    indices = np.asarray(image)
    # entries behind the last one in use are often filled up
    last = int(indices.max())
    listed = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)[: last + 1]
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(listed)] = listed
    if rules.colours:
        return _look_up(indices, [packed_colours(palette)], rules)
    if len(listed) <= last or not (listed == listed[:, :1]).all():
        return indices
    values, levels = np.arange(256), palette[:, 0]
    black_and_white = np.isin(listed, (0, 255)).all()
    return _look_up(indices, [values, levels] if black_and_white else [levels, values], rules)


def _look_up(values: np.ndarray, readings: list[np.ndarray], rules: MaskRules) -> np.ndarray:
    """Return ids by the table that gives the most values of a file a name; of equals by the first."""
    used = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    table = max(readings, key=lambda table: np.isin(table[used], list(rules.ids)).sum())
    if np.array_equal(table[used], used):
        return values
    return np.asarray(table.astype(np.min_scalar_type(int(table[used].max())))[values])


def _from_colours(colours: np.ndarray, rules: MaskRules, name: object) -> np.ndarray:
    """Return ids of (H, W, 3 or 4) uint8 colours."""
    red, green, blue = (colours[:, :, i] for i in range(3))
    grey = np.array_equal(red, green) and np.array_equal(red, blue)
    if grey and not rules.colours:
        return np.ascontiguousarray(red)
    if rules.colours is False:
        raise NotAMaskError(
            name, "not a mask of class ids: it holds colours; save the ids in one channel, as a grey PNG"
        )
    return packed_colours(colours)


def packed_colours(colours: np.ndarray) -> np.ndarray:
    """Return 0xRRGGBB, uint32, of (..., 3 or more) uint8 colours."""
    packed = colours[..., 0].astype(np.uint32)
    for channel in (1, 2):
        packed <<= 8
        packed |= colours[..., channel]
    return packed


def _whole(values: np.ndarray, name: object) -> np.ndarray:
    """Return (H, W) whole numbers as the smallest unsigned type that holds them."""
    if values.dtype == np.uint8:
        return values
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > MAX_ID:
        raise NotAMaskError(
            name, f"not a mask of class ids: they are {low:,} to {high:,}, not within 0..{MAX_ID:,}"
        )
    return values.astype(np.min_scalar_type(high))


def _rawmode(image: Image.Image) -> str:
    """Return Pillow's name for the pixels as they lie in the file; ``""`` if it does not say."""
    tile = getattr(image, "tile", None)  # what a file's image has
    arguments = tile[0][3] if tile else None
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def load_mask(path: str | None, stored: np.ndarray | None, rules: MaskRules = FIFTYONE) -> np.ndarray | None:
    """Return the ids of a label's mask: of the one in the database, else of the one on disk.

    The default of ``rules`` is what pixels mean without mask targets.

    Returns:
        (H, W) ids, see :func:`read_mask`; ``None`` if there is no mask.

    Raises:
        ImageReadError: the file is missing or no mask.
    """
    if stored is not None:
        return mask_ids(np.asarray(stored), rules, "the mask in the database")
    return None if path is None else read_mask(path, rules)


def read_mask_file(path: str | None, stored: np.ndarray | None = None) -> np.ndarray:
    """Return the (H, W) class ids of a mask on disk, or of one stored in the database.

    Raises:
        ImageReadError: the file is missing or no mask.
    """
    mask = load_mask(path, stored)
    if mask is None:
        raise ImageReadError(path, "no mask")
    return mask
