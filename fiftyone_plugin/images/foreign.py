"""Images that Pillow does not read by itself: what they are, in words, and HEIC where there is a reader."""

from __future__ import annotations

import functools
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["RAW_EXTENSIONS", "describe_unreadable", "raw_camera_format", "register_heif"]

_CAMERAS = """
    3fr arw cr2 cr3 crw dcr dng erf fff iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf
    srw x3f
"""
RAW_EXTENSIONS = frozenset(f".{name}" for name in _CAMERAS.split())
"""Lower-case extensions of cameras' RAW files."""

RAW_HEADS = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"FUJIFILMCCD-RAW")
HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
MAX_TAGS = 4096
COMPRESSION = {1: "uncompressed", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "untyped", 5: "complex integer", 6: "complex float"}
TAG_WIDTH, TAG_BITS, TAG_COMPRESSION, TAG_SAMPLES, TAG_FORMAT = 256, 258, 259, 277, 339
TAG_DNG = 50706
INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # TIFF types that hold whole numbers, and their struct letter


@functools.lru_cache(maxsize=1)
def register_heif() -> bool:
    """Let Pillow open HEIC and HEIF through pillow-heif; return whether that is installed."""
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
    except Exception:  # a broken installation must not take JPEG away
        return False
    return True


def raw_camera_format(image: TiffImageFile, path: str) -> str | None:
    """Return why an opened TIFF is not used: it is a camera's RAW file, of which this is a small preview."""
    extension = _extension(path)
    if extension in RAW_EXTENSIONS:
        return _raw(extension)
    return _raw(".dng") if TAG_DNG in image.tag_v2 else None


def describe_unreadable(file: BinaryIO, path: str) -> str | None:
    """Say what an opened file is that Pillow does not know; its extension names the format of a RAW file.

    Returns:
        A short reason; ``None`` where the file is none of the formats known here, or too damaged to tell.
    """
    try:
        file.seek(0)
        head = file.read(32)
        if head[4:8] == b"ftyp":
            return _describe_container(head[8:12])
        if _extension(path) in RAW_EXTENSIONS or head.startswith(RAW_HEADS):
            return _raw(_extension(path))
        if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _describe_tiff(file, head)
    except (OSError, struct.error, ValueError, OverflowError):
        pass  # only the wording depends on it
    return None


def _extension(path: str) -> str:
    return os.path.splitext(path.replace("\\", "/"))[1].lower()


def _raw(extension: str) -> str:
    kind = f"{extension[1:].upper()}, a" if extension in RAW_EXTENSIONS else "a"
    return f"{kind} camera's RAW file: convert it to JPEG, PNG or 8-bit TIFF"


def _describe_container(brand: bytes) -> str | None:
    if brand == b"crx ":
        return _raw(".cr3")
    if brand not in HEIF_BRANDS:
        return None
    if register_heif():
        return "damaged or truncated HEIC image"
    return "HEIC: install pillow-heif (pip install 'fiftyone-pseudomask[heic]'), or convert it to JPEG"


def _describe_tiff(file: BinaryIO, head: bytes) -> str | None:
    tags = _first_directory(file, head)
    if TAG_DNG in tags:
        return _raw(".dng")
    if TAG_WIDTH not in tags:
        return None
    bits = tags.get(TAG_BITS, [1])
    bands = tags.get(TAG_SAMPLES, [len(bits)])[0]
    kind = KINDS.get(tags.get(TAG_FORMAT, [1])[0], "untyped")
    packed = tags.get(TAG_COMPRESSION, [1])[0]
    words = COMPRESSION.get(packed, f"compression {packed}")
    sizes = "/".join(map(str, sorted(set(bits))))
    plural = "band" if bands == 1 else "bands"
    return f"TIFF of {sizes}-bit {kind}, {bands} {plural}, {words}: not supported, convert it to 8-bit RGB"


def _first_directory(file: BinaryIO, head: bytes) -> dict[int, list[int]]:
    """Return the tags of whole numbers in the first directory of a TIFF or BigTIFF.

    Raises:
        struct.error: it is truncated.
    """
    order = "<" if head[:2] == b"II" else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    word, inline, counter = ("Q", 8, "Q") if big else ("I", 4, "H")
    file.seek(struct.unpack_from(order + word, head, inline)[0])
    count = struct.unpack(order + counter, file.read(struct.calcsize(counter)))[0]
    entry_size = 4 + 2 * inline
    entries = file.read(min(count, MAX_TAGS) * entry_size)
    if len(entries) < count * entry_size:
        raise struct.error("truncated, or no directory")
    tags: dict[int, list[int]] = {}
    for start in range(0, len(entries), entry_size):
        tag, kind, number = struct.unpack_from(f"{order}HH{word}", entries, start)
        if kind not in INTEGERS or not 1 <= number <= MAX_TAGS:
            continue
        layout, place = f"{order}{number}{INTEGERS[kind]}", start + 4 + inline
        if (size := struct.calcsize(layout)) <= inline:
            data = entries[place : place + inline]
        else:
            file.seek(struct.unpack_from(order + word, entries, place)[0])
            data = file.read(size)
        tags[tag] = list(struct.unpack_from(layout, data))
    return tags
