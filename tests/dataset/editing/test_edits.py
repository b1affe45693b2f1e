"""Edits of a real run: masks, lists, coverage, areas and names follow, and undo gives all of it back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.common.locks import hold
from fiftyone_plugin.dataset import editing
from fiftyone_plugin.dataset import summary as app_summary
from fiftyone_plugin.dataset.editing.history import run_names
from fiftyone_plugin.dataset.editing.names import class_names, rename_classes, restore_names
from fiftyone_plugin.dataset.editing.run import EditableRun
from fiftyone_plugin.errors import PseudoMaskError, UsageError

from .conftest import State, check_fields, masks


def test_hidden_classes_leave_names_and_lists_and_come_back(labelled):
    before = State(labelled)
    done = editing.hide_classes(labelled, "auto", [2, 3])
    hidden = State(labelled)
    assert hidden.masks == before.masks
    assert hidden.targets == {1: "class 1", 4: "class 4"}
    assert hidden.areas == before.areas
    check_fields(labelled)
    assert run_names(labelled, "auto").hidden == {2: "class 2", 3: "class 3"}
    assert done.changed == 0
    assert done.samples == sum(a != b for a, b in zip(before.lists, hidden.lists, strict=True))
    rename_classes(labelled, "auto", {1: "thing"})  # what is hidden stays hidden through other edits
    assert run_names(labelled, "auto").hidden == {2: "class 2", 3: "class 3"}
    editing.show_classes(labelled, "auto", [2])
    check_fields(labelled)
    editing.show_classes(labelled, "auto")
    rename_classes(labelled, "auto", {1: "class 1"})
    assert State(labelled) == before
    for _ in range(5):
        editing.undo_edit(labelled, "auto")
    assert State(labelled) == before


def test_hidden_classes_are_unlabelled_in_exports(labelled, tmp_path):
    from fiftyone_plugin.formats import export

    editing.hide_classes(labelled, "auto", [1])
    result = export(labelled, "auto", out=tmp_path / "coco", jobs=1)
    assert sorted(result.categories.values()) == ["class 2", "class 3", "class 4"]
    document = json.loads(next((tmp_path / "coco").rglob("*.json")).read_text())
    assert {entry["name"] for entry in document["categories"]} == {"class 2", "class 3", "class 4"}


def test_merging_in_the_masks(labelled):
    before, old = State(labelled), masks(labelled)
    done = editing.merge_classes(labelled, "auto", [4, 2], name=" the  rest ")
    assert class_names(labelled, "auto") == {1: "class 1", 2: "the rest", 3: "class 3"}
    for mask, new in zip(old, masks(labelled), strict=True):
        assert np.array_equal(new, np.where(mask == 4, 2, mask))
    check_fields(labelled)
    assert done.changed == sum((mask == 4).any() for mask in old)
    for path in labelled.values("auto.mask_path"):  # only masks that changed were written
        assert ("edits" in Path(path).parts) == ("/001/" in path)
    assert sum("edits" in Path(path).parts for path in labelled.values("auto.mask_path")) == done.changed
    assert editing.undo_edit(labelled, "auto").kind == "merge"
    assert State(labelled) == before


def test_classes_of_one_name_merge_in_the_masks(labelled):
    assert editing.merge_same_names(labelled, "auto") is None
    old = masks(labelled)
    rename_classes(labelled, "auto", {1: "a", 3: "a", 2: "b", 4: "b"})
    editing.merge_same_names(labelled, "auto")
    assert class_names(labelled, "auto") == {1: "a", 2: "b"}
    table = np.array([0, 1, 2, 1, 2], np.uint8)
    assert all(np.array_equal(new, table[mask]) for mask, new in zip(old, masks(labelled), strict=True))
    check_fields(labelled)


def test_edits_upon_edits_are_taken_back_one_by_one(labelled):
    states = [State(labelled)]
    editing.merge_classes(labelled, "auto", [1, 2])
    states.append(State(labelled))
    editing.hide_classes(labelled, "auto", [3])
    states.append(State(labelled))
    editing.merge_classes(labelled, "auto", [1, 4])
    check_fields(labelled)
    assert [(e.number, e.kind) for e in editing.list_edits(labelled, "auto")] == [
        (1, "merge"),
        (2, "hide"),
        (3, "merge"),
    ]
    for state in reversed(states):
        editing.undo_edit(labelled.limit(1), "auto")  # edits belong to the dataset, not to a view
        assert State(labelled) == state
    with pytest.raises(UsageError, match="no edit to take back"):
        editing.undo_edit(labelled, "auto")
    assert {e.status for e in editing.list_edits(labelled, "auto")} == {"undone"}
    restore_names(labelled, "auto")
    assert State(labelled) == states[0]


@pytest.mark.parametrize("crash_in", ["write_mask", "save", "update"])
def test_a_crash_is_taken_back_by_the_next_edit(labelled, monkeypatch, crash_in):
    from fiftyone_plugin.dataset.editing import run as module

    before = State(labelled)

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EditableRun, "recover", lambda self: None)  # the process is gone, nobody cleans up
        if crash_in == "write_mask":
            calls = []
            write = module.write_mask
            patch.setattr(module, "write_mask", lambda *a: kill() if calls else calls.append(write(*a)))
        elif crash_in == "save":
            patch.setattr(type(labelled), "save", kill)
        else:
            patch.setattr(EditableRun, "_write_names", kill)
        with pytest.raises(KeyboardInterrupt):
            editing.merge_classes(labelled, "auto", [1, 2])
    labelled.reload()
    assert editing.list_edits(labelled, "auto")[-1].status == "writing"
    editing.hide_classes(labelled, "auto", [3])
    check_fields(labelled)
    editing.undo_edit(labelled, "auto")
    assert State(labelled) == before
    root = Path(labelled.get_run_info("pseudomask_auto").config.out)
    assert not list((root / "edits").rglob("*.png"))


def test_an_edit_that_fails_or_is_cancelled_changes_nothing(labelled):
    from fiftyone_plugin.common.progress import CallbackProgress

    before = State(labelled)

    def cancel(stage, done, total):
        if done > 1:
            raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError, match="cancelled"):
        editing.merge_classes(labelled, "auto", [1, 2], progress=CallbackProgress(cancel, 0.0))
    assert State(labelled) == before


def test_edits_of_another_process_are_seen(labelled):
    code = """
import sys, fiftyone as fo
from fiftyone_plugin.dataset import editing
editing.merge_classes(fo.load_dataset(sys.argv[1]), "auto", [1, 2], name="both")
"""
    labelled.persistent = True
    subprocess.run([sys.executable, "-c", code, labelled.name], check=True)
    editing.hide_classes(labelled, "auto", [4])
    assert [edit.kind for edit in editing.list_edits(labelled, "auto")] == ["merge", "hide"]
    assert class_names(labelled, "auto") == {1: "both", 3: "class 3"}
    check_fields(labelled)
    view = labelled.limit(2)
    assert len(list(view)) == 2
    editing.masks_to_detections(view, "auto")
    assert all(sample.auto_detections for sample in view)  # a view that was iterated before


def test_two_edits_at_once_are_refused(labelled, tmp_path):
    editing.hide_classes(labelled, "auto", [1])
    with (
        hold(tmp_path / "auto" / "edits" / "lock"),
        pytest.raises(PseudoMaskError, match="another edit of 'auto' is being written"),
    ):
        editing.show_classes(labelled, "auto")


def test_a_missing_mask_is_reported(labelled):
    sample = labelled.match({"auto_classes": "class 2"}).first()
    Path(sample.auto.mask_path).unlink()
    done = editing.merge_classes(labelled, "auto", [1, 2])
    assert done.unread == (sample.id,)
    rest = labelled.exclude(sample.id)
    assert not any((sample.auto.get_mask() == 2).any() for sample in rest)


def test_a_deleted_run_takes_its_edits_along(labelled, tmp_path):
    from fiftyone_plugin import undo

    editing.merge_classes(labelled, "auto", [1, 2])
    rename_classes(labelled, "auto", {1: "x"})
    undo(labelled, "pseudomask_auto")
    assert not (tmp_path / "auto").exists()
    assert not labelled.has_sample_field("auto")


def test_a_copy_of_the_dataset_only_shows_the_masks(fo, labelled):
    before = State(labelled)
    clone = labelled.clone()
    try:
        for edit in (
            lambda: editing.merge_classes(clone, "auto", [1, 2]),
            lambda: rename_classes(clone, "auto", {1: "sky"}),
            lambda: editing.undo_edit(clone, "auto"),
        ):
            with pytest.raises(UsageError, match="belong to the dataset that"):
                edit()
        editing.merge_classes(labelled, "auto", [3, 4])
        assert State(clone) == before
        editing.undo_edit(labelled, "auto")
        assert State(labelled) == State(clone) == before
    finally:
        fo.delete_dataset(clone.name)


def test_what_cannot_be_done_says_why(labelled):
    before = State(labelled)
    cases = [
        (lambda: editing.hide_classes(labelled, "auto", [9]), "no class 9; there are: 1 \\(class 1\\)"),
        (lambda: editing.hide_classes(labelled, "auto", [1, 2, 3, 4]), "at least one class"),
        (lambda: editing.hide_classes(labelled, "auto", []), "name a class"),
        (
            lambda: editing.show_classes(labelled, "auto", [1]),
            "class 1 is not hidden; hidden in 'auto': none",
        ),
        (lambda: editing.show_classes(labelled, "auto"), "show which class"),
        (lambda: editing.merge_classes(labelled, "auto", [1]), "at least two"),
        (lambda: editing.merge_classes(labelled, "auto", [1, 2], name="x" * 101), "1 to 100 characters"),
        (lambda: editing.merge_classes(labelled, "other", [1, 2]), "there are: auto"),
        (lambda: editing.split_class(labelled, "auto", 9), "no class 9"),
        (lambda: editing.split_class(labelled, "auto", 1, n_parts=1), "2 to 26"),
    ]
    for call, message in cases:
        with pytest.raises(UsageError, match=message):
            call()
    assert State(labelled) == before
    assert editing.list_edits(labelled, "auto") == []
    assert app_summary.list_runs(labelled)[0].status == "complete"
