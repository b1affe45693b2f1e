"""FiftyOne's database: errors in one sentence, and the documents behind a dataset."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import MissingDependencyError

__all__ = ["database_errors", "database_problem", "dataset_id", "refresh"]

SAFE = "What was written before is kept. Start the database (pseudomask doctor helps) and do the same again"


def database_problem(error: BaseException, safe: str = SAFE) -> str | None:
    """Return one sentence for an error of the database's client; ``None`` for any other error.

    Args:
        error: the error; those that it was raised from count as well.
        safe: what is safe, and how to go on.
    """
    pymongo = sys.modules.get("pymongo.errors")  # without it nobody has asked a database
    if pymongo is None:
        return None
    for cause in causes(error):
        if isinstance(cause, pymongo.PyMongoError):
            line = next(iter(str(cause).splitlines()), "") or type(cause).__name__
            return f"FiftyOne's database does not answer ({line[:160]}). {safe}"
    return None


def causes(error: BaseException) -> list[BaseException]:
    """Return an error and those that it was raised from; a circle of causes, which Python allows, ends."""
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


@contextmanager
def database_errors(safe: str = SAFE) -> Iterator[None]:
    """Turn errors of the database's client into one sentence.

    Args:
        safe: what is safe, and how to go on.

    Raises:
        MissingDependencyError: the database does not answer.
    """
    try:
        yield
    except Exception as error:
        problem = database_problem(error, safe)
        if problem is None:
            raise
        raise MissingDependencyError(problem) from error


def dataset_id(dataset: Any) -> str:
    """Return what tells a dataset from all others, its clones and an earlier one of its name included."""
    return str(dataset._dataset._doc.id)


def refresh(dataset: Any) -> None:
    """Read names and runs anew: another process, such as the App, may have changed them meanwhile.

    ``dataset.reload()`` would do, but makes views that were iterated before unusable once a field is added.
    """
    dataset._dataset._reload()
