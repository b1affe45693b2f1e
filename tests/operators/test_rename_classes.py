"""Operator ``rename_classes``: the form and the call from Python."""

from __future__ import annotations

import pytest

from fiftyone_plugin._version import PLUGIN_NAME

URI = f"{PLUGIN_NAME}/rename_classes"
FAST = {
    "method": "lightcluster",
    "size": 140,
    "classes": 3,
    "refine": "none",
    "backbone": "offline-vits14",
    "jobs": 1,
}


@pytest.fixture
def labelled(dataset, backbone, tmp_path):
    from fiftyone_plugin import label_dataset

    label_dataset(dataset.limit(4), "auto", out=tmp_path / "auto", **FAST)
    return dataset


def test_the_form_has_a_line_for_every_class(form, labelled):
    lines = {key: prop.default for key, prop in form(URI, labelled).items() if key.startswith("auto__")}
    assert lines == {f"auto__{id_}": f"class {id_}" for id_ in labelled.mask_targets["auto"]}
    assert form(URI, labelled, auto__1=" ")["auto__1"].invalid
    assert not form(URI, labelled, auto__1="sky")["auto__1"].invalid
    assert "auto__1" not in form(URI, labelled, restore=True)


def test_without_a_run_the_form_says_so(form, dataset):
    assert form(URI, dataset)["field"].invalid


def test_call_merge_and_restore(foo, labelled):
    operator, before = foo.get_operator(URI), labelled.values("auto_classes")
    result = operator(labelled, "auto", {1: "sky", 2: "sky"}).result
    assert result["classes"] == 2
    labelled.reload()
    assert labelled.mask_targets["auto"] == {1: "sky", 2: "sky", 3: "class 3"}
    operator(labelled, "auto", restore=True)
    labelled.reload()
    assert labelled.values("auto_classes") == before
    assert labelled.mask_targets["auto"] == {1: "class 1", 2: "class 2", 3: "class 3"}
