"""FiftyOne's database: errors in one sentence, and the documents behind a dataset.

FiftyOne saves a run or a saved view in two commands, the document and the dataset's reference to it, and
deletes them in two. What a sudden end leaves between them counts as neither there nor gone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError
from .keys import METHOD

if TYPE_CHECKING:
    from fiftyone import Dataset

__all__ = ["database_errors", "database_problem", "dataset_id", "refresh", "remove_orphans"]

SAFE = "What was written before is kept. Start the database (pseudomask doctor helps) and do the same again"
SETTLED_S = 3.0  # after which a document without a reference is nobody's who is about to add one
OUR_KEYS = (f"{METHOD}_", "compare_")
OUR_METHODS = (METHOD, f"{METHOD}_comparison")


def database_problem(error: BaseException, safe: str = SAFE) -> str | None:
    """Return one sentence for an error of the database's client; ``None`` for any other error.

    Errors that it was raised from count as well. ``safe`` tells what is safe, and how to go on.
    """
    pymongo = sys.modules.get("pymongo.errors")  # without it nobody has asked a database
    if pymongo is None:
        return None
    for cause in _causes(error):
        if isinstance(cause, pymongo.PyMongoError):
            line = next(iter(str(cause).splitlines()), "") or type(cause).__name__
            return f"FiftyOne's database does not answer ({line[:160]}). {safe}"
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and those that it was raised from; a circle of causes, which Python allows, ends."""
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


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
    changes = _changes(connection, identity)
    if changes["documents"]:
        time.sleep(SETTLED_S)  # another process may be between the two commands
        changes = _changes(connection, identity)
    for collection, id_ in changes["documents"]:
        connection[collection].delete_one({"_id": id_})
    if changes["runs"]:
        gone = {f"runs.{key}": "" for key in changes["runs"]}
        connection.datasets.update_one({"_id": identity}, {"$unset": gone})
    if changes["views"]:
        pulled = {"saved_views": {"$in": changes["views"]}}
        connection.datasets.update_one({"_id": identity}, {"$pull": pulled})
    if any(changes.values()):
        dataset._dataset._reload()
    return list(changes["runs"])


def _changes(connection: Any, identity: object) -> dict[str, list[Any]]:
    """Return documents without a reference, and keys of runs and ids of views without a document."""
    document = connection.datasets.find_one({"_id": identity}, {"runs": 1, "saved_views": 1}) or {}
    named, listed = document.get("runs") or {}, document.get("saved_views") or []
    runs = {run["_id"]: run for run in connection.runs.find({"_dataset_id": identity}, {"config.method": 1})}
    views = {
        view["_id"]: view for view in connection.views.find({"_dataset_id": identity}, {"description": 1})
    }
    referred = set(named.values())
    return {
        "documents": [
            *(("runs", i) for i, run in runs.items() if i not in referred and _is_our_run(run)),
            *(("views", i) for i, view in views.items() if i not in listed and _is_our_view(view)),
        ],
        "runs": [k for k, i in named.items() if i not in runs and k.startswith(OUR_KEYS)],
        "views": [i for i in listed if i not in views],
    }


def _is_our_run(run: dict[str, Any]) -> bool:
    config = run.get("config")
    return isinstance(config, dict) and config.get("method") in OUR_METHODS


def _is_our_view(view: dict[str, Any]) -> bool:
    return str(view.get("description") or "").startswith(tuple(f"Run {key}" for key in OUR_KEYS))
