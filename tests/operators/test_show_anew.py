"""Operator ``show_anew``: the App reads the dataset again when it shows no view that may be gone."""

from __future__ import annotations

import json

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from operators.running import LEAVING_TRIES, read_again

URI = f"{PLUGIN_NAME}/show_anew"


@pytest.fixture
def sent(foo, dataset):
    """``sent(do, **request)`` returns the names of what ``do(ctx)`` asks of the App, and their values."""
    from fiftyone.operators.executor import ExecutionContext

    def call(do, params=None, **request):
        request = {"dataset_name": dataset.name, "operator_uri": URI, "params": params or {}, **request}
        context = ExecutionContext(
            request_params=request, executor=foo.executor.Executor(), operator_uri=URI, required_secrets=[]
        )
        do(context)
        requests = json.loads(json.dumps(context.executor.to_json()))["requests"]
        return [(r["operator_uri"].split("/")[-1], r["params"]) for r in requests]

    return call


def test_the_dataset_is_read_again_at_once(sent, dataset):
    dataset.save_view("there", dataset.limit(1))
    for view in ({}, {"view": [{}]}, {"view_name": "there"}):
        assert sent(read_again, **view) == [("reload_dataset", {})]


def test_a_view_that_is_gone_is_left_first(sent):
    assert sent(read_again, view_name="gone") == [("clear_view", {}), ("show_anew", {"tries": 0})]


def test_it_waits_until_the_view_is_left(foo, sent):
    execute = foo.get_operator(URI).execute
    assert sent(execute, {"tries": 3}, view_name="gone") == [("show_anew", {"tries": 4})]
    assert sent(execute, {"tries": 4}) == [("reload_dataset", {})]
    ((name, told),) = sent(execute, {"tries": LEAVING_TRIES}, view_name="gone")
    assert (name, told["variant"]) == ("notify", "warning")
