"""Operator ``label_dataset``: form, choice of the method, Python call, delegated run."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin import undo
from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.methods.registry import list_methods

URI = f"{PLUGIN_NAME}/label_dataset"

pytestmark = pytest.mark.usefixtures("backbone")


@pytest.fixture
def two(dataset):
    return dataset.limit(2)


def test_python_call_labels_the_view_and_nothing_else(foo, dataset, two):
    foo.get_operator(URI)(two, "auto", classes=2)
    assert dataset.exists("auto").values("id") == two.values("id")
    assert dataset.list_runs() == ["pseudomask_auto"]
    assert set(dataset.mask_targets["auto"].values()) <= {"class 1", "class 2"}
    undo(dataset, "pseudomask_auto")
    assert not dataset.has_sample_field("auto")


def test_delegated_run_stores_its_result(foo, dataset, two):
    from fiftyone.operators.delegated import DelegatedOperationService

    foo.execute_operator(
        URI, {"view": two.view()}, params={"field": "auto", "classes": 2}, request_delegation=True
    )
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=dataset.name)
    (operation,) = service.list_operations(dataset_name=dataset.name)
    assert operation.run_state == "completed", operation.result and operation.result.error
    assert operation.result.result["labelled"] == 2
    assert operation.status.progress == pytest.approx(1.0)
    assert len(dataset.exists("auto")) == 2
    undo(dataset, "pseudomask_auto")


def test_the_form_names_the_field_at_fault(form, fo, dataset):
    assert not form(URI, dataset)["field"].invalid
    dataset.add_sample_field("pseudo_mask", fo.StringField)
    prop = form(URI, dataset)["field"]
    assert prop.invalid
    assert "pseudo_mask" in prop.error_message
    assert not form(URI, dataset, field="other")["field"].invalid
    assert form(URI, dataset, overwrite=True)["field"].invalid


def test_the_form_offers_every_method(form, dataset):
    method = form(URI, dataset)["method"]
    assert method.type.values == list_methods()
    assert method.default == "mosaic"


def test_the_chosen_method_labels_the_view(foo, dataset):
    view = dataset.limit(2)
    foo.get_operator(URI)(view, "segments", classes=3, method="datus")
    record = dataset.get_run_info("pseudomask_segments").config.serialize()
    assert "datus" in str(record)
    for sample in view:
        mask = sample["segments"].get_mask()
        assert mask.min() >= 1  # this method leaves no pixel without a class
        assert len(np.unique(mask)) <= 3
