"""Errors of FiftyOne's database in a sentence: what is safe, and how to go on."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from pymongo.errors import ConnectionFailure, PyMongoError

from fiftyone_plugin.common.text import shorten
from fiftyone_plugin.errors import PseudoMaskError

__all__ = ["DatabaseLost", "first_line", "in_words"]

logger = logging.getLogger(__name__)

LINE = 200  # characters of another program's error
SILENT = (
    "FiftyOne's database does not answer. Masks that are done are safe in the folder of their run: start the "
    "database (pseudomask doctor helps), reload this page, and do the same again"
)
REFUSED = "FiftyOne's database refused this ({}); masks that are done are safe in the folder of their run"


class DatabaseLost(PseudoMaskError):
    """FiftyOne's database does not answer, or refused what it was asked."""


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Turn errors of the database's client into one sentence; the log of the App's server has the rest."""
    try:
        yield
    except PyMongoError as error:
        logger.warning("the database failed", exc_info=error)
        lost = isinstance(error, ConnectionFailure)
        # without the chain: FiftyOne shows a person the whole of it
        raise DatabaseLost(SILENT if lost else REFUSED.format(first_line(error))) from None


def first_line(error: BaseException) -> str:
    """Return the first line of an error, in bounded length."""
    return shorten(next(iter(str(error).splitlines()), "") or type(error).__name__, LINE)
