"""Operators ``compare_runs`` and ``save_views``: the forms, the calls from Python, and delegated work."""

from __future__ import annotations

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.comparison import list_comparisons
from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.evaluation.comparison import compare_masks

COMPARE, SAVE = f"{PLUGIN_NAME}/compare_runs", f"{PLUGIN_NAME}/save_views"


@pytest.fixture
def twice(dataset, fill):
    fill("first", images=4)
    fill("second", 1, images=4)
    return dataset


def test_forms_without_enough_runs_say_so(form, dataset):
    assert form(COMPARE, dataset)["a"].invalid
    assert form(SAVE, dataset)["field"].invalid


def test_forms(form, twice):
    found = form(COMPARE, twice)
    assert (found["a"].default, found["b"].default) == ("second", "first")  # the newest first
    assert not found["b"].invalid
    assert form(COMPARE, twice, a="first", b="first")["b"].invalid
    assert form(SAVE, twice)["field"].default == "second"


def test_compare_from_python(foo, twice):
    list(foo.get_operator(COMPARE)(twice, "first", "second").result or [])
    (stored,) = list_comparisons(twice)
    pairs = [(s.id, s.first.get_mask(), s.second.get_mask()) for s in twice.exists("second")]
    assert stored.agreement == compare_masks(pairs).agreement
    assert stored.field == "first_vs_second_agreement"
    list(foo.get_operator(COMPARE)(twice.limit(2), "first", "second", "mine").result or [])
    (stored,) = list_comparisons(twice)
    assert (stored.field, stored.images) == ("mine", 2)


def test_compare_delegated(foo, twice):
    from fiftyone.operators.delegated import DelegatedOperationService

    params = {"a": "first", "b": "second"}
    foo.execute_operator(COMPARE, {"dataset": twice}, params=params, request_delegation=True)
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=twice.name)
    (operation,) = service.list_operations(dataset_name=twice.name)
    assert operation.run_state == "completed", operation.result
    assert operation.result.result["images"] == 4
    twice.reload()
    assert operation.result.result["view"] in twice.list_saved_views()
    service.delete_operation(operation.id)


def test_save_views_from_python(foo, twice):
    before = twice.list_saved_views()
    for name in before:
        twice.delete_saved_view(name)
    result = foo.get_operator(SAVE)(twice, "first").result
    twice.reload()
    assert result == {"field": "first", "views": ", ".join(twice.list_saved_views())}
    assert twice.list_saved_views() == [name for name in before if name.startswith("first")]
    names = dict(twice.get_run_info(run_key("first")).config.saved_views)
    assert list(names.values()) == twice.list_saved_views()
