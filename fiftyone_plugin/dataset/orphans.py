"""Documents that FiftyOne leaves when it is killed between two commands: found, and removed if they are ours.

FiftyOne saves a run or a saved view in two commands, the document and the dataset's reference to it, and
deletes them in two. What is between them counts as neither there nor gone.
"""

from __future__ import annotations

import time
from typing import Any

from .keys import METHOD

__all__ = ["remove_orphans"]

SETTLED_S = 3.0  # after which a document without a reference is nobody's who is about to add one
OUR_KEYS = (f"{METHOD}_", "compare_")
OUR_METHODS = (METHOD, f"{METHOD}_comparison")


def remove_orphans(dataset: Any) -> list[str]:
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


def _changes(connection: Any, identity: Any) -> dict[str, list[Any]]:
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
