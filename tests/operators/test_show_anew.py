"""Operator ``show_anew``: the App reads the dataset again when it shows no view that may be gone."""

from __future__ import annotations

import json

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from operators.running import LEAVING_TRIES, read_again

URI = f"{PLUGIN_NAME}/show_anew"


@pytest.fixture
def sent(dataset, context):
    """``sent(do, **request)`` returns the names of what ``do(ctx)`` asks of the App, and their values."""

    def call(do, params=None, **request):
        asked = context(URI, dataset, params, operator_uri=URI, **request)
        do(asked)
        requests = json.loads(json.dumps(asked.executor.to_json()))["requests"]
        return [(r["operator_uri"].split("/")[-1], r["params"]) for r in requests]

    return call


def test_the_dataset_is_read_again_at_once(sent, dataset):
    dataset.save_view("there", dataset.limit(1))
    for view in ({}, {"view": [{}]}, {"view_name": "there"}):
        assert sent(read_again, **view) == [("reload_dataset", {})]


def looks(tries, *fields, read=False):
    return "show_anew", {"fields": list(fields), "tries": tries, "read": read}


def test_a_view_that_is_gone_is_left_first(sent):
    assert sent(read_again, view_name="gone") == [("clear_view", {}), looks(0, read=True)]


def test_it_waits_until_the_view_is_left(foo, sent):
    execute = foo.get_operator(URI).execute
    assert sent(execute, {"tries": 3, "read": True}, view_name="gone") == [looks(4, read=True)]
    assert sent(execute, {"tries": 4, "read": True}) == [("reload_dataset", {})]
    ((name, told),) = sent(execute, {"tries": LEAVING_TRIES, "read": True}, view_name="gone")
    assert (name, told["variant"]) == ("notify", "warning")


def test_fields_are_shown_until_the_app_has_them(foo, sent):
    execute = foo.get_operator(URI).execute
    for number, shown in enumerate(([], ["auto"], [])):  # the second look came while a page was loaded
        names = sent(execute, {"fields": ["auto"], "tries": number}, active_fields=shown)
        again = [("set_active_fields", {"fields": ["auto"]})] if not shown else []
        assert [each for each in names if each[0] != "set_color_scheme"] == [
            *again,
            looks(number + 1, "auto"),
        ]
    assert sent(execute, {"fields": ["auto"], "tries": 3}, active_fields=["auto", "other"]) == []
    assert sent(execute, {"fields": ["auto"], "tries": LEAVING_TRIES}, active_fields=[]) == []


def test_the_dataset_is_read_before_fields_are_shown(foo, sent):
    execute = foo.get_operator(URI).execute
    told = sent(execute, {"fields": ["auto"], "read": True}, active_fields=[])
    assert told == [("reload_dataset", {}), looks(1, "auto")]
