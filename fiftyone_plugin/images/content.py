"""One look at an image file: its bytes are read once, hashed, and decoded."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass

import numpy as np

from ..common.remote import url_of
from ..common.stamps import file_stamp
from ..errors import ImageChangedError, ImageReadError
from .reading import decoding, image_to_rgb, read_file, upright_size

__all__ = ["FileContent", "content_rank", "read_content", "read_unchanged"]

ATTEMPTS = 3  # at a file that is being changed
ENDS = 1 << 16  # bytes at either end of a file that tell it from others


@dataclass(frozen=True)
class FileContent:
    """What an image file held when it was read: bytes, their sha256 in hex, and its ``size:mtime_ns``."""

    data: bytes
    digest: str
    stamp: str
    path: str

    def decode(self) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB, as :func:`~.reading.read_image`.

        Raises:
            ImageReadError: it is damaged, too large, or no image.
        """
        with decoding(io.BytesIO(self.data), self.path) as image:
            return image_to_rgb(image)

    @property
    def size(self) -> tuple[int, int]:
        """(Height, width) of what :meth:`decode` returns, from the header alone; it raises the same."""
        with decoding(io.BytesIO(self.data), self.path) as image:
            return upright_size(image)


def read_content(path: str) -> FileContent:
    """Read a file that does not change meanwhile.

    Raises:
        ImageChangedError: it changes all the time.
        ImageReadError: it is missing, a folder, empty or not readable by this user.
    """
    for _ in range(ATTEMPTS):
        stamp = file_stamp(path)
        data = read_file(path)
        if file_stamp(path) == stamp:
            return FileContent(data, hashlib.sha256(data).hexdigest(), stamp, path)
    raise ImageChangedError(path)


def read_unchanged(path: str, stamp: str) -> np.ndarray:
    """Read an image whose file had this stamp when its features were computed; for use in workers too.

    Raises:
        ImageChangedError: it is another file by now.
        ImageReadError: as :func:`~.reading.read_image`.
    """
    try:
        content = read_content(path)
        if content.stamp == stamp:
            return content.decode()
    except ImageReadError as error:
        if file_stamp(path) not in (stamp, ""):  # half written, perhaps
            raise ImageChangedError(path) from error
        raise
    raise ImageChangedError(path)


def content_rank(path: str, seed: int) -> bytes:
    """Return what to sort files by to draw some of them uniformly, whatever their names and order.

    It depends on the seed, the size of the file and both of its ends: reading every file of a large data set
    as a whole would take longer than what it is drawn for. What cannot be read comes last. In a store the tag
    of an object stands for its ends.
    """
    if url_of(path) is not None:
        length, _, tag = file_stamp(path).partition(":")
        return _rank(tag.encode(), length, seed)
    try:
        size = os.stat(path).st_size
        with open(path, "rb") as file:
            ends = file.read(ENDS)
            if size > ENDS:
                file.seek(max(ENDS, size - ENDS))
                ends += file.read(ENDS)
    except (OSError, ValueError):
        return b"\xff" * 17
    return _rank(ends, f"{size}", seed)


def _rank(ends: bytes, size: str, seed: int) -> bytes:
    return hashlib.blake2b(ends, digest_size=16, salt=f"{seed}".encode(), person=size.encode()).digest()
