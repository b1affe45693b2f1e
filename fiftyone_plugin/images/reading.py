"""Reading image files the way a browser, and so the FiftyOne App, shows them.

What every file becomes is 8-bit RGB:

* **Orientation**: the EXIF orientation of JPEG, PNG and AVIF files is applied, and TIFF's own tag. What WebP,
  XMP, "Raw profile" text and chunks behind the pixels say is left alone, as browsers do (seen in Chromium
  156; on WebP see also https://zpl.fi/exif-orientation-in-different-formats/): a mask has to lie on the
  picture that people see.
* **Transparency** (alpha, transparent palette entries, colour keys) is composited over white.
* **16-bit** grey and colour keep the high byte of the full range 0..65535, as browsers do.
* **32-bit integers**: linear from the image's own minimum..maximum to 0..255.
* **Floats**: times 255 where all values lie in [0, 1], else linear from the minimum..maximum of the finite
  values; NaN becomes 0.
* **CMYK** by the plain formula, without a colour profile; embedded profiles are ignored throughout.
* Of an animation or a stack of pages, the first one.
* **HEIC / HEIF** are read where the package pillow-heif is installed, upright as libheif gives them.

What cannot be read for what it is, and not for damage, says so: float and multi-band TIFF, RAW of cameras.

Functions here keep no state and may be called from many threads; decoding and resizing release the GIL.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, UnidentifiedImageError, _imaging
from PIL.TiffImagePlugin import TiffImageFile

from ..common.remote import StoreError, read_object, remote_stamp, url_of
from ..errors import ImageReadError
from .foreign import describe_unreadable, raw_camera_format, register_heif
from .modes import to_rgb

__all__ = ["MAX_PIXELS", "PathLike", "decoding", "file_digest", "image_extensions", "image_format"]
__all__ += ["image_size", "image_to_rgb", "open_image", "orientation_turn", "read_file", "read_image"]
__all__ += ["read_reduced", "resize_image", "upright_size"]

MAX_PIXELS = 178_956_970
"""Default limit of width x height: where Pillow raises ``DecompressionBombError`` (2 x 89,478,485)."""

PathLike = str | os.PathLike[str]

# Without a handler, Python's last resort prints errors that Pillow logs (odd TIFF layouts) to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# Formats that Pillow recognises but does not decode itself: left to an application (BUFR, GRIB, HDF5, WMF),
# header only (MPEG), or handed to Ghostscript, which must not run on whatever lies in a folder (EPS).
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_COMMON_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "TIFF", "WEBP")
_EXIF_FORMATS = frozenset({"AVIF", "JPEG", "MPO", "PNG"})
_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 0x0100, 0x0101
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)
_last = threading.local()  # what a thread has fetched at last: several looks at one image are one request


def image_extensions() -> frozenset[str]:
    """Return the lower-case file extensions, with dot, of the formats that :func:`read_image` decodes."""
    readable = {*_formats(), "MPO"}  # MPO is opened as JPEG
    return frozenset(ext for ext, name in Image.registered_extensions().items() if name in readable)


def read_image(path: PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image file.

    Args:
        path: the file.
        max_pixels: largest width x height accepted, checked before anything is decoded. Pillow's own limit
            holds besides.

    Returns:
        (H, W, 3) uint8 RGB, writable, upright; see the module for how other pixel types become that.

    Raises:
        ImageReadError: the file is missing, a folder, empty, not readable by this user, truncated, damaged,
            too large, or no image.
    """
    with open_image(path, max_pixels) as image:
        return image_to_rgb(image)


def image_to_rgb(image: Image.Image) -> np.ndarray:
    """Return an opened or made image as :func:`read_image` returns its file: (H, W, 3) uint8, upright.

    Raises:
        OSError: it is damaged; the decoder may raise others.
    """
    turn = orientation_turn(image)
    image.load()
    rgb = to_rgb(image)
    return np.array(rgb.transpose(turn) if turn is not None else rgb)


def image_size(path: PathLike) -> tuple[int, int]:
    """Return (height, width) of what :func:`read_image` would return, from the header alone.

    Raises:
        ImageReadError: as :func:`read_image`, as far as the header tells.
    """
    with open_image(path) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) of what :func:`image_to_rgb` makes of an opened image, from its header."""
    if isinstance(image, TiffImageFile):
        # Pillow turns TIFF on loading, and versions differ in what size is before
        width, height = int(image.tag_v2[_WIDTH]), int(image.tag_v2[_HEIGHT])
        turned = image.getexif().get(_ORIENTATION) in _TURNED
    else:
        width, height = image.size
        turned = _exif_orientation(image) in _TURNED
    return (width, height) if turned else (height, width)


def read_reduced(path: PathLike, height: int, width: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image in no fewer rows and columns than asked for, where it has as many.

    Of a JPEG, halves, quarters and eighths cost a fraction of the whole (Pillow's draft mode: fewer terms of
    the cosine transform); other formats are read as they are.

    Returns:
        (h, w, 3) uint8 RGB, upright, and the native (H, W).

    Raises:
        ImageReadError: as :func:`read_image`.
    """
    native = image_size(path)
    with open_image(path) as image:
        lies = native != (image.height, image.width) and orientation_turn(image) is not None
        image.draft(None, (height, width) if lies else (width, height))
        return image_to_rgb(image), native


def image_format(path: PathLike) -> str:
    """Return Pillow's name of the format that a file's content has, e.g. ``"JPEG"``, from its header.

    Raises:
        ImageReadError: as :func:`image_size`.
    """
    with open_image(path) as image:
        return str(image.format)


def orientation_turn(image: Image.Image) -> Image.Transpose | None:
    """Return how :func:`read_image` turns an opened image after loading it, ``None`` for not at all."""
    return _TRANSPOSE.get(_exif_orientation(image))


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize by bicubic interpolation, antialiased when shrinking (Pillow); the aspect ratio is not kept.

    Args:
        image: (H, W, 3) uint8.
        height: rows of the result, >= 1.
        width: columns of the result, >= 1.

    Returns:
        (height, width, 3) uint8, writable.
    """
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def file_digest(path: PathLike) -> str:
    """Return the sha256 of the file's bytes as 64 hex digits, reading it in pieces.

    Raises:
        ImageReadError: the file is missing, a folder, empty or not readable by this user.
    """
    digest = hashlib.sha256()
    with _open_file(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_file(path: PathLike) -> bytes:
    """Return the bytes of an image file.

    Raises:
        ImageReadError: as :func:`file_digest`.
    """
    with _open_file(path) as file:
        return file.read()


def _formats() -> list[str]:
    Image.init()
    register_heif()
    return [name for name in Image.ID if name not in _NOT_DECODED]


def _os_reason(error: OSError) -> str:
    known = {
        errno.ENOENT: "no such file",
        errno.ENOTDIR: "no such file",
        errno.EISDIR: "is a folder, not a file",
        errno.EACCES: "permission denied",
        errno.EPERM: "permission denied",
    }
    return known.get(error.errno or 0) or f"cannot be read: {error.strerror or error}"


def _fetch(url: str) -> bytes:
    """Return the content of an object in a store."""
    try:
        wanted = (url, remote_stamp(url))
        known: tuple[object, bytes] = getattr(_last, "content", (None, b""))
        data = known[1] if known[0] == wanted else read_object(url)
    except StoreError as error:
        raise ImageReadError(url, error.reason) from None
    if not data:
        raise ImageReadError(url, "empty file")
    _last.content = ((url, remote_stamp(url)), data)
    return data


@contextmanager
def _open_file(path: PathLike) -> Iterator[BinaryIO]:
    """Open a regular, non-empty file; anything else (a pipe would block for ever) is an error.

    So is what fails while the file is read.
    """
    if (url := url_of(path)) is not None:
        yield io.BytesIO(_fetch(url))
        return
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            raise ImageReadError(path, "is a folder, not a file")
        if not stat.S_ISREG(info.st_mode):
            raise ImageReadError(path, "not a regular file")
        if info.st_size == 0:
            raise ImageReadError(path, "empty file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise ImageReadError(path, _os_reason(error)) from error
    except ValueError as error:
        raise ImageReadError(path, f"not a usable file name: {error}") from error


@contextmanager
def open_image(
    path: PathLike, max_pixels: int = MAX_PIXELS, formats: tuple[str, ...] | None = None
) -> Iterator[Image.Image]:
    """Yield the opened, not yet decoded image; whatever Pillow raises then becomes ``ImageReadError``.

    ``formats`` are Pillow's names of those to try; default: all that it decodes itself.

    Raises:
        ImageReadError: see :func:`read_image`.
    """
    with _open_file(path) as file, decoding(file, path, max_pixels, formats) as image:
        yield image


@contextmanager
def decoding(
    file: BinaryIO,
    path: PathLike,
    max_pixels: int = MAX_PIXELS,
    formats: tuple[str, ...] | None = None,
) -> Iterator[Image.Image]:
    """Do as :func:`open_image` with the content of a file, which the name is only for errors."""
    try:
        with _PILLOW_IS_QUIET, Image.open(file, formats=formats or _formats()) as image:
            if isinstance(image, TiffImageFile):
                _silence_libtiff()
                if camera := raw_camera_format(image, os.fsdecode(path)):
                    raise ImageReadError(path, camera)
            width, height = image.size
            if width * height > max_pixels:
                limit = f"more than {max_pixels:,} pixels"
                raise ImageReadError(path, f"too large: {width:,} x {height:,} is {limit}")
            yield image
    except ImageReadError:
        raise
    except Exception as error:  # decoders raise anything from OSError to struct.error on damaged files
        raise ImageReadError(path, _decoder_reason(error, file, os.fsdecode(path))) from error


def _decoder_reason(error: Exception, file: BinaryIO, path: str) -> str:
    unknown = isinstance(error, UnidentifiedImageError) or "unknown raw mode" in str(error)
    if unknown and (known := describe_unreadable(file, path)):
        return known
    if isinstance(error, UnidentifiedImageError):
        header = "damaged or truncated image header"
        return header if _looks_like_image(file) else "not an image in a known format"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    message = next(iter(str(error).strip().lower().splitlines()), type(error).__name__)[:100]
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {message.split(',')[0]}"
    if isinstance(error, OSError) and error.errno:
        return _os_reason(error)
    if isinstance(error, EOFError) or "truncated" in message or "not enough image data" in message:
        return "truncated file"
    return f"damaged or truncated image ({message})"


def _looks_like_image(file: BinaryIO) -> bool:
    try:
        file.seek(0)
        prefix = file.read(16)
        accepts = [Image.OPEN[name][1] for name in _COMMON_FORMATS if name in Image.OPEN]
        return any(accept is not None and accept(prefix) is True for accept in accepts)
    except Exception:  # only the wording depends on it
        return False


@functools.lru_cache(maxsize=1)
def _silence_libtiff() -> None:
    """Stop libtiff from printing to stderr what Pillow raises anyhow; the handler is global, so set it once.

    Looked up through Pillow's own extension module, whose dependencies the dynamic linkers of Linux and macOS
    search too. Where the symbol is not exported (Windows), libtiff keeps printing.
    """
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


def _exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8 that browsers honour; 1 for TIFF, which Pillow turns on loading."""
    data = image.info.get("exif")
    if image.format not in _EXIF_FORMATS or not data:
        return 1
    exif = Image.Exif()
    try:
        exif.load(data)
        orientation = exif.get(_ORIENTATION)
    except Exception:  # damaged metadata does not make an image unusable
        return 1
    return orientation if orientation in _TRANSPOSE else 1


class _PillowIsQuiet:
    """Silences warnings raised in Pillow while at least one thread is inside.

    ``warnings.catch_warnings`` saves and restores the whole list of filters, so that two overlapping threads
    can leave a filter behind for ever. Here one filter, for Pillow's modules only, is put in front by the
    first and taken out by the last, from every list that it was put into.
    """

    # the comment inside the pattern makes the filter unlike any that a user might have set
    _filter = ("ignore", None, Warning, re.compile(r"PIL\.(?#fiftyone_plugin.images.reading)"), 0)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._lists: list[list[object]] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            filters = cast("list[object]", warnings.filters)
            if not filters or filters[0] is not self._filter:
                filters.insert(0, self._filter)
                self._lists.append(filters)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for filters in self._lists:
                    while self._filter in filters:
                        filters.remove(self._filter)
                self._lists.clear()


_PILLOW_IS_QUIET = _PillowIsQuiet()
