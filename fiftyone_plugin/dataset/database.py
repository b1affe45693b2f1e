"""FiftyOne's database: errors in one sentence, and the documents behind a dataset.

FiftyOne saves a run or a saved view in two commands, the document and the dataset's reference to it, and
deletes them in two. What a sudden end leaves between them counts as neither there nor gone.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError
from .keys import METHOD

if TYPE_CHECKING:
    from fiftyone import Dataset
    from pymongo.database import Database

__all__ = ["alone", "database_errors", "database_problem", "dataset_id", "refresh", "remove_orphans"]

SAFE = "What was written before is kept. Start the database (pseudomask doctor helps) and do the same again"
SETTLED_S = 3.0  # after which a document without a reference is nobody's who is about to add one
OUR_KEYS = (f"{METHOD}_", "compare_")
OUR_METHODS = (METHOD, f"{METHOD}_comparison")
_locks: dict[str, threading.RLock] = defaultdict(threading.RLock)


def database_problem(error: BaseException, safe: str = SAFE) -> str | None:
    """Return one sentence for an error of the database's client; ``None`` for any other error.

    Errors that it was raised from count as well. ``safe`` tells what is safe, and how to go on.
    """
    pymongo = sys.modules.get("pymongo.errors")  # without it nobody has asked a database
    if pymongo is None:
        return None
    causes = [error]  # Python allows circles of causes
    while (cause := causes[-1].__cause__) is not None and cause not in causes:
        causes.append(cause)
    for cause in causes:
        if isinstance(cause, pymongo.PyMongoError):
            line = next(iter(str(cause).splitlines()), "") or type(cause).__name__
            return f"FiftyOne's database does not answer ({line[:160]}). {safe}"
    return None


@contextmanager
def database_errors(safe: str = SAFE) -> Iterator[None]:
    """Turn errors of the database's client into one sentence, which says what is ``safe``, and how to go on.

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


@contextmanager
def alone(name: str | None, seconds: float = -1) -> Iterator[bool]:
    """Hold a dataset for this thread, and yield whether it is held; without a name, nothing needs to be held.

    FiftyOne keeps one object a dataset and process. Loading it anew in one thread, as every request of the
    App does, would take back fields that another thread has just added. It waits for ``seconds`` at most;
    negative: as long as it takes.
    """
    lock = _locks[name or ""]
    held = name is None or lock.acquire(timeout=seconds)
    try:
        yield held
    finally:
        if held and name is not None:
            lock.release()


def dataset_id(dataset: Dataset) -> str:
    """Return what tells a dataset from all others, its clones and an earlier one of its name included."""
    return str(dataset._dataset._doc.id)


def refresh(dataset: Dataset) -> None:
    """Read names and runs anew: another process, such as the App, may have changed them meanwhile.

    ``dataset.reload()`` would do, but makes views that were iterated before unusable once a field is added.
    """
    dataset._dataset._reload()


def remove_orphans(dataset: Dataset) -> list[str]:
    """Remove own documents of runs and saved views without a reference, and references to none.

    Returns:
        The keys of the runs that a deletion has left without a document.
    """
    from fiftyone.core.odm import get_db_conn

    connection, identity = get_db_conn(), dataset._dataset._doc.id
    documents, runs, views = _without(connection, identity)
    if documents:
        time.sleep(SETTLED_S)  # another process may be between the two commands
        documents, runs, views = _without(connection, identity)
    for collection, id_ in documents:
        connection[collection].delete_one({"_id": id_})
    if runs:
        connection.datasets.update_one({"_id": identity}, {"$unset": {f"runs.{key}": "" for key in runs}})
    if views:
        connection.datasets.update_one({"_id": identity}, {"$pull": {"saved_views": {"$in": views}}})
    if documents or runs or views:
        refresh(dataset)
    return runs


def _without(
    connection: Database[dict[str, Any]], identity: object
) -> tuple[list[tuple[str, object]], list[str], list[object]]:
    """Return documents without a reference, and keys of runs and ids of views without a document."""
    document = connection.datasets.find_one({"_id": identity}, {"runs": 1, "saved_views": 1}) or {}
    named, listed = document.get("runs") or {}, document.get("saved_views") or []
    runs = {run["_id"]: run for run in connection.runs.find({"_dataset_id": identity}, {"config.method": 1})}
    found = connection.views.find({"_dataset_id": identity}, {"description": 1})
    views = {view["_id"]: str(view.get("description") or "") for view in found}
    documents: list[tuple[str, object]] = []
    for id_, run in runs.items():
        config = run.get("config")
        ours = isinstance(config, dict) and config.get("method") in OUR_METHODS
        if ours and id_ not in named.values():
            documents.append(("runs", id_))
    own = tuple(f"Run {key}" for key in OUR_KEYS)
    documents += [("views", i) for i, text in views.items() if i not in listed and text.startswith(own)]
    gone = [key for key, id_ in named.items() if id_ not in runs and key.startswith(OUR_KEYS)]
    return documents, gone, [id_ for id_ in listed if id_ not in views]
