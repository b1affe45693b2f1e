"""The operators that edit masks: their forms, their calls from Python, and a delegated run."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset import editing

NAMES = (
    "hide_classes",
    "split_class",
    "masks_to_detections",
    "detections_to_masks",
    "propagate_corrections",
    "undo_edit",
)
FAST = {
    "method": "mosaic",
    "size": 140,
    "classes": 4,
    "refine": "none",
    "backbone": "offline-vits14",
    "jobs": 1,
}


@pytest.fixture(scope="module")
def labelled(fo, photos, backbone, tmp_path_factory):
    """The photographs, labelled once for all tests here; each takes its edits back."""
    from fiftyone_plugin import label_dataset

    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in sorted(photos.iterdir())])
    label_dataset(dataset, "auto", out=tmp_path_factory.mktemp("run") / "auto", **FAST)
    yield dataset
    fo.delete_dataset(dataset.name)


@pytest.fixture(autouse=True)
def _clean(labelled):
    yield
    while any(edit.status == "done" for edit in editing.list_edits(labelled, "auto")):
        editing.undo_edit(labelled, "auto")
    for field in ("auto_detections", "few"):
        if labelled.has_sample_field(field):
            labelled.delete_sample_field(field)


def uri(name):
    return f"{PLUGIN_NAME}/{name}"


def targets(dataset):
    dataset.reload()
    return dict(dataset.mask_targets["auto"])


@pytest.mark.parametrize("name", NAMES)
def test_operators_explain_themselves(form, foo, labelled, name):
    config = foo.get_operator(uri(name)).config
    assert config.label
    assert config.description
    assert config.icon
    assert config.allow_delegated_execution
    properties = form(name, labelled)
    assert properties["field"].view.description
    assert properties["field"].default == "auto"


@pytest.mark.parametrize("name", NAMES)
def test_without_a_run_the_form_says_so(form, dataset, name):
    properties = form(name, dataset)
    assert properties["field"].invalid
    assert "label it first" in properties["field"].error_message


def test_hide_and_show(form, foo, labelled):
    before = targets(labelled)
    operator = foo.get_operator(uri("hide_classes"))
    operator(labelled, "auto", [2, 3])
    assert targets(labelled) == {1: "class 1", 4: "class 4"}
    boxes = form("hide_classes", labelled)
    assert [boxes[f"auto__hide__{id_}"].default for id_ in (1, 2, 3, 4)] == [False, True, True, False]
    all_hidden = {f"auto__hide__{id_}": True for id_ in (1, 4)}
    assert form("hide_classes", labelled, **all_hidden)["auto__hide__1"].invalid
    operator(labelled, "auto", [1], show=[2, 3])
    assert targets(labelled) == {2: "class 2", 3: "class 3", 4: "class 4"}
    operator(labelled, "auto", show=[1])
    assert targets(labelled) == before


def test_split_and_take_back(form, foo, labelled):
    before = targets(labelled)
    choices = form("split_class", labelled)["class_id"].type.values
    assert sorted(choices) == ["1", "2", "3", "4"]
    foo.get_operator(uri("split_class"))(labelled, "auto", 2, seed=1)
    assert targets(labelled) == {**before, 2: "class 2 a", 5: "class 2 b"}
    undo = foo.get_operator(uri("undo_edit"))
    assert "class split 'class 2'" in form("undo_edit", labelled)["last"].view.description
    undo(labelled, "auto")
    assert targets(labelled) == before
    assert form("undo_edit", labelled)["field"].invalid


def test_split_as_a_delegated_operation_keeps_its_result(foo, labelled):
    from fiftyone.operators.delegated import DelegatedOperationService

    before = targets(labelled)
    params = {"field": "auto", "class_id": "1", "parts": 2, "seed": 0}
    foo.execute_operator(
        uri("split_class"), {"view": labelled.view()}, params=params, request_delegation=True
    )
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=labelled.name)
    (operation,) = service.list_operations(dataset_name=labelled.name)
    assert operation.run_state == "completed"
    assert targets(labelled) == {**before, 1: "class 1 a", 5: "class 1 b"}
    assert operation.result.result["classes"].startswith("class 1 a (")


def test_the_round_trip_and_propagation(form, foo, labelled):
    view = labelled.limit(2)
    for name in ("detections_to_masks", "propagate_corrections"):
        assert form(name, labelled)["field"].invalid
    foo.get_operator(uri("masks_to_detections"))(view, "auto", min_area=100)
    labelled.reload()
    assert labelled.count("auto_detections") == 2
    made = form("masks_to_detections", labelled)["auto__into"]
    assert made.invalid
    assert not form("masks_to_detections", labelled, overwrite=True)["auto__into"].invalid
    assert not form("masks_to_detections", labelled, auto__into="few")["auto__into"].invalid
    sample = labelled.first()
    region = max(sample.auto_detections.detections, key=lambda detection: detection.mask.sum())
    region.label = "found"
    sample.save()
    choice = form("detections_to_masks", labelled)["auto__detections"]
    assert choice.type.values == ["auto_detections"]
    foo.get_operator(uri("detections_to_masks"))(labelled, "auto")
    labelled.reload()
    assert (labelled.first().auto.get_mask() == 5).sum() == region.mask.sum()
    properties = form("propagate_corrections", labelled)
    assert not properties["field"].invalid
    assert properties["corrected"].view.label == "Corrected masks: 1"
    foo.get_operator(uri("propagate_corrections"))(labelled, "auto", margin=0.0)
    kinds = [edit.kind for edit in editing.list_edits(labelled, "auto") if edit.status == "done"]
    assert kinds == ["detections", "propagate"]


def test_names_merge_in_the_masks_too(foo, labelled):
    old = [sample.auto.get_mask() for sample in labelled]
    operator = foo.get_operator(uri("rename_classes"))
    result = operator(labelled, "auto", {1: "a", 4: "a"}, merge_ids=True).result
    assert result["masks"] == sum((mask == 4).any() for mask in old)
    assert targets(labelled) == {1: "a", 2: "class 2", 3: "class 3"}
    new = [sample.auto.get_mask() for sample in labelled]
    assert all(np.array_equal(np.where(a == 4, 1, a), b) for a, b in zip(old, new, strict=True))
