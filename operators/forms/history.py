"""What was edited in a run, in words."""

from __future__ import annotations

import fiftyone as fo

from fiftyone_plugin.dataset.editing.history import DONE, Edit, list_edits

from .fields import show_name

__all__ = ["describe_edit", "in_force"]

KINDS = {
    "rename": "names changed",
    "hide": "classes hidden or shown",
    "merge": "classes merged in the masks",
    "split": "class split",
    "detections": "detections put back into the masks",
    "propagate": "corrections propagated",
}


def in_force(dataset: fo.Dataset, field: str) -> list[Edit]:
    """Return the edits of a run that were not taken back, oldest first."""
    return [edit for edit in list_edits(dataset, field) if edit.status == DONE]


def describe_edit(edit: Edit) -> str:
    """Say in a few words what an edit did; names of classes come from anybody and are shortened."""
    what = KINDS.get(edit.kind, edit.kind)
    if edit.kind == "split":
        what += f" {show_name(edit.before.all.get(edit.settings['class'], ''))!r}"
    elif edit.kind in ("hide", "merge"):
        ids = edit.settings.get("ids") or edit.settings.get("shown") or []
        what += " (" + ", ".join(show_name(edit.before.all.get(int(id_), str(id_))) for id_ in ids) + ")"
    elif edit.kind == "rename":
        old, new = edit.before.shown, edit.after.shown
        changed = [
            f"{show_name(old[i])} \u2192 {show_name(new[i])}" for i in new if old.get(i, new[i]) != new[i]
        ]
        what += f" ({', '.join(changed)})" if changed else ""
    return what
