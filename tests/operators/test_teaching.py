"""Labels of a person in the App: which images to label next, and a run that is taught by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.suggesting import suggest_samples
from fiftyone_plugin.errors import UsageError


@pytest.fixture
def labelled(fo, dataset, tiny_weights):
    """Seven photographs with clusters in the field "auto", and masks of a person on the first two."""
    settings = {"size": 112, "refine": "none", "backbone": tiny_weights, "jobs": 1, "classes": 4}
    label_dataset(dataset, "auto", **settings)
    for sample in dataset.limit(2).iter_samples(autosave=True):
        height, width = sample.auto.get_mask().shape
        mask = np.full((height, width), 3, np.uint8)
        mask[: height // 2] = 8
        sample["mine"] = fo.Segmentation(mask=mask)
    dataset.mask_targets = {**dataset.mask_targets, "mine": {3: "below", 8: "above"}}
    dataset.save()
    return dataset


def test_the_form_offers_labels_only_where_a_person_has_given_some(form, fo, dataset, labelled):
    inputs = form("label_dataset", labelled, field="new")
    assert inputs["labels"].type.values == ["-", "mine"]  # and not the fields of runs
    assert "classes" in inputs
    inputs = form("label_dataset", labelled, field="new", labels="mine")
    assert inputs["start"].type.values == ["-", "auto"]
    assert inputs["start"].default == "auto"
    assert "classes" not in inputs, "a run that is taught has settings"
    assert "classes" in form("label_dataset", labelled, field="new", labels="mine", start="-")
    labelled.delete_sample_field("mine")
    assert "labels" not in form("label_dataset", labelled, field="new")


def test_a_finished_run_is_taught_and_stays(foo, labelled):
    before = {p: Path(p).read_bytes() for p in labelled.values("auto.mask_path")}
    operator = foo.get_operator(f"{PLUGIN_NAME}/label_dataset")
    operator(labelled, "taught", labels="mine", start="auto")
    labelled.reload()
    assert len(labelled.exists("taught")) == len(labelled)
    assert dict(labelled.mask_targets["taught"]) == {3: "below", 8: "above"}
    ids = {int(i) for sample in labelled for i in np.unique(sample.taught.get_mask())}
    assert ids <= {0, 3, 8}
    assert {p: Path(p).read_bytes() for p in labelled.values("auto.mask_path")} == before
    assert len(labelled.exists("mine")) == 2
    assert labelled.get_run_info("pseudomask_taught").config.status == "complete"
    undo(labelled, "pseudomask_taught")
    assert len(labelled.exists("mine")) == 2


def test_images_to_label_next_are_a_saved_view(foo, labelled):
    done = set(labelled.exists("mine").values("id"))
    found = suggest_samples(labelled, "auto", 3, labels="mine")
    view = labelled.load_saved_view(found.view)
    assert view.values("id") == list(found.suggestions)
    assert len(found.suggestions) == 3
    assert done.isdisjoint(found.suggestions)
    assert all(each.reason for each in found.suggestions.values())
    operator = foo.get_operator(f"{PLUGIN_NAME}/suggest_images")
    operator(labelled, "auto", 2)
    labelled.reload()
    assert found.view == "auto: label next"  # and the new one takes its place
    assert len(labelled.load_saved_view("auto: label next")) == 2
    with pytest.raises(UsageError, match="has no field 'nothing'"):
        suggest_samples(labelled, "auto", labels="nothing")
    undo(labelled, "pseudomask_auto")
    assert "auto: label next" not in labelled.list_saved_views()
