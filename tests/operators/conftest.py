"""FiftyOne's operators, and the module of the one that a test is about."""

from __future__ import annotations

import json
import sys

import pytest

from fiftyone_plugin._version import PLUGIN_NAME


@pytest.fixture
def foo(fo):
    import fiftyone.operators as foo

    return foo


@pytest.fixture
def module(operator):
    return sys.modules[type(operator).__module__]


@pytest.fixture
def context(fo):
    """``context(operator, dataset, params, **request)`` : what FiftyOne hands to one of that name or URI."""
    from fiftyone.operators.executor import ExecutionContext, Executor

    def build(operator, dataset, params=None, **request):
        uri = operator if operator.startswith("@") else f"{PLUGIN_NAME}/{operator}"
        request = {"dataset_name": dataset.name, "params": params or {}, **request}
        return ExecutionContext(request, executor=Executor(), operator_uri=uri, required_secrets=[])

    return build


@pytest.fixture
def form(foo, context):
    """``form(operator, dataset, **params)`` is what the App would show: name -> input."""

    def build(operator, dataset, **params):
        asked = context(operator, dataset, params)
        return foo.get_operator(asked.operator_uri).resolve_input(asked).type.properties

    return build


@pytest.fixture
def run(foo, context):
    """``run(operator, dataset, params, **request)`` returns its messages to the App, and its result."""

    def build(operator, dataset, params, **request):
        asked, result = context(operator, dataset, params, **request), []

        def steps():
            result.append((yield from foo.get_operator(asked.operator_uri).execute(asked)))

        return [message.body for message in steps()], result[0]

    return build


@pytest.fixture
def panel(foo, context):
    """``panel(dataset, method, state, **params)`` does what the App asks; returns (messages, state after)."""

    def call(dataset, method, state=None, view=None, view_name=None, **params):
        params = {"__method__": method, "panel_id": "p", "panel_state": state or {}, **params}
        asked = context("pseudomasks", dataset, params, view=view, view_name=view_name)
        foo.get_operator(asked.operator_uri).execute(asked)
        requests = json.loads(json.dumps(asked.executor.to_json()))["requests"]
        return [(r["operator_uri"].split("/")[-1], r["params"]) for r in requests], asked.panel.state._data

    return call
