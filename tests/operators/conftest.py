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
def panel(fo):
    """``panel(dataset, method, state, **params)`` does what the App asks; returns (messages, state after)."""
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionContext

    uri = f"{PLUGIN_NAME}/pseudomasks"

    def call(dataset, method, state=None, view=None, view_name=None, **params):
        params = {"__method__": method, "panel_id": "p", "panel_state": state or {}, **params}
        request = {"dataset_name": dataset.name, "view": view, "view_name": view_name, "params": params}
        context = ExecutionContext(
            request_params=request, executor=foo.executor.Executor(), operator_uri=uri, required_secrets=[]
        )
        foo.get_operator(uri).execute(context)
        requests = json.loads(json.dumps(context.executor.to_json()))["requests"]
        return [(r["operator_uri"].split("/")[-1], r["params"]) for r in requests], context.panel.state._data

    return call
