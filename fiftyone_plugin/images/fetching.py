"""The content of images that are in stores."""

from __future__ import annotations

import threading

from ..common.remote import StoreError, read_object, remote_stamp
from ..errors import ImageReadError

__all__ = ["fetch"]

_last = threading.local()  # what a thread has fetched at last: several looks at one image are one request


def fetch(url: str) -> bytes:
    """Return the content of an object.

    Raises:
        ImageReadError: it cannot be had, or is empty.
    """
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
