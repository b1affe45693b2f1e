"""Names of classes: the lists follow the masks, whatever is merged and taken apart again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.dataset import summary as app_summary
from fiftyone_plugin.dataset.editing import list_edits
from fiftyone_plugin.dataset.editing.names import class_names, rename_classes, restore_names
from fiftyone_plugin.dataset.editing.run import EditableRun
from fiftyone_plugin.errors import UsageError

FAST = {
    "method": "lightcluster",
    "size": 140,
    "classes": 4,
    "refine": "none",
    "backbone": "offline-vits14",
    "jobs": 1,
}


@pytest.fixture
def labelled(dataset, backbone, tmp_path):
    from fiftyone_plugin import label_dataset

    label_dataset(dataset.limit(6), "auto", out=tmp_path / "auto", **FAST)
    return dataset


def lists(dataset):
    return dataset.values("auto_classes")


def lists_by_reading_masks(dataset):
    """What the lists must be, from the pixels and the mask targets."""
    names = dataset.mask_targets["auto"]
    expected = []
    for sample in dataset:
        if sample.auto is None:
            expected.append(None)
            continue
        present = [names[int(id_)] for id_ in np.unique(sample.auto.get_mask()) if id_]
        expected.append(list(dict.fromkeys(present)))
    return expected


def mask_bytes(dataset):
    return [Path(path).read_bytes() for path in dataset.values("auto.mask_path") if path]


def test_names_and_lists_follow_and_masks_stay(labelled):
    masks = mask_bytes(labelled)
    result = rename_classes(labelled, "auto", {1: " the  sky ", 3: "tree"})
    assert result.names == {1: "the sky", 2: "class 2", 3: "tree", 4: "class 4"}
    assert class_names(labelled, "auto") == result.names
    assert lists(labelled) == lists_by_reading_masks(labelled)
    assert mask_bytes(labelled) == masks


def test_a_swap_of_two_names(labelled):
    before = lists(labelled)
    rename_classes(labelled, "auto", {1: "class 2", 2: "class 1"})
    swap = {"class 1": "class 2", "class 2": "class 1"}
    assert lists(labelled) == [names and [swap.get(name, name) for name in names] for names in before]
    assert lists(labelled) == lists_by_reading_masks(labelled)


def test_merged_classes_can_be_taken_apart(labelled):
    rename_classes(labelled, "auto", {1: "thing", 2: "thing", 4: "thing"})
    assert lists(labelled) == lists_by_reading_masks(labelled)
    merged = {row.name: row for row in app_summary.class_rows(labelled, "auto")}
    assert merged["thing"].ids == (1, 2, 4)
    assert merged["thing"].images == sum("thing" in names for names in lists(labelled) if names)
    rename_classes(labelled, "auto", {2: "another"})
    assert lists(labelled) == lists_by_reading_masks(labelled)
    assert class_names(labelled, "auto") == {1: "thing", 2: "another", 3: "class 3", 4: "thing"}


def test_restoring_gives_back_what_the_run_wrote_and_keeps_the_record(labelled):
    before, names = lists(labelled), class_names(labelled, "auto")
    order = [run.key for run in app_summary.list_runs(labelled)]
    rename_classes(labelled, "auto", {1: "thing", 2: "thing"})
    rename_classes(labelled, "auto", {3: "thing"})
    result = restore_names(labelled.limit(1), "auto")  # names belong to the dataset, not to a view
    assert result.names == names == class_names(labelled, "auto")
    assert lists(labelled) == before
    edits = list_edits(labelled, "auto")
    assert [edit.settings["names"] for edit in edits] == [
        {"1": ["class 1", "thing"], "2": ["class 2", "thing"]},
        {"3": ["class 3", "thing"]},
        {"1": ["thing", "class 1"], "2": ["thing", "class 2"], "3": ["thing", "class 3"]},
    ]
    assert [run.key for run in app_summary.list_runs(labelled)] == order


def test_restoring_mends_an_edit_that_a_crash_cut_short(labelled, monkeypatch):
    before, names = lists(labelled), class_names(labelled, "auto")

    def crash(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(labelled), "save", crash)
        patch.setattr(EditableRun, "recover", lambda self: None)  # the process is gone, nobody cleans up
        with pytest.raises(KeyboardInterrupt):
            rename_classes(labelled, "auto", {1: "thing", 2: "thing"})
    labelled.reload()
    assert lists(labelled) != before
    restore_names(labelled, "auto")
    assert lists(labelled) == before
    assert class_names(labelled, "auto") == names


def test_a_missing_mask_is_reported_and_the_others_are_split(labelled):
    rename_classes(labelled, "auto", {1: "thing", 2: "thing", 3: "thing", 4: "thing"})
    sample = labelled.exists("auto").first()
    Path(sample.auto.mask_path).unlink()
    result = rename_classes(labelled, "auto", {1: "one"})
    assert result.unread == (sample.id,)
    assert labelled[sample.id].auto_classes == ["thing"]
    others = labelled.exclude(sample.id)
    assert lists(others) == lists_by_reading_masks(others)


def test_a_renamed_run_can_be_undone(labelled, tmp_path):
    from fiftyone_plugin import undo

    rename_classes(labelled, "auto", {1: "thing"})
    undo(labelled, "pseudomask_auto")
    assert not labelled.has_sample_field("auto")
    assert "auto" not in labelled.mask_targets
    assert not (tmp_path / "auto").exists()


def test_what_cannot_be_renamed_says_why(labelled):
    before = lists(labelled)
    for names, message in [({9: "x"}, "no class 9"), ({1: "  "}, "class 1"), ({2: "x" * 101}, "class 2")]:
        with pytest.raises(UsageError, match=message):
            rename_classes(labelled, "auto", names)
    with pytest.raises(UsageError, match="there are: auto"):
        rename_classes(labelled, "other", {1: "x"})
    assert rename_classes(labelled, "auto", {1: "class 1"}).samples == 0
    assert restore_names(labelled, "auto").samples == 0
    assert lists(labelled) == before
