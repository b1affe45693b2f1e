"""Values of any type in the parameters of every operator and event: taken, or told in a sentence."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from itertools import product

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.errors import PseudoMaskError

pytestmark = pytest.mark.slow

WRONG = (
    [1, "a"],
    {"a": {"b": 1}},
    True,
    -1,
    2.5,
    10**400,
    math.nan,
    " ",
    "ground_truth\0",
    "no_such_field",
    "filepath",
    "../../x",
    "12",
    "x" * 10_000,
    object(),
)
OPERATORS = (
    "add_overlay",
    "compare_runs",
    "detections_to_masks",
    "evaluate_masks",
    "export_masks",
    "hide_classes",
    "import_masks",
    "label_dataset",
    "masks_to_detections",
    "name_classes",
    "preview_masks",
    "propagate_corrections",
    "quick_label",
    "rename_classes",
    "resume_run",
    "sample_frames",
    "save_ontology",
    "save_views",
    "split_class",
    "stop_run",
    "suggest_images",
    "suggest_names",
    "undo_edit",
)
UNDECLARED = {
    "add_overlay": ("other",),
    "hide_classes": ("first__hide__1", "first__hide__99", "first__hide__x"),
    "rename_classes": ("first__1", "first__99", "first__x"),
    "label_dataset": ("weights", "restart", "overwrite", "labels", "start", "discover"),
    "masks_to_detections": ("first__into", "overwrite"),
    "import_masks": ("overwrite",),
    "quick_label": ("field",),
    "sample_frames": ("rate", "name"),
}
WORK = {
    "fiftyone_plugin.dataset.labelling": ("create_views", "label_dataset"),
    "fiftyone_plugin.dataset.resuming": ("resume_run",),
    "fiftyone_plugin.dataset.suggesting": ("suggest_samples",),
    "fiftyone_plugin.runs.preview": ("preview",),
    "fiftyone_plugin.runs.name_ideas": ("suggest_names",),
    "fiftyone_plugin.dataset.overlays": ("add_overlay",),
    "fiftyone_plugin.dataset.frames": ("sample_frames",),
    "fiftyone_plugin.dataset.ontology": ("save_ontology",),
    "fiftyone_plugin.evaluation": ("evaluate",),
    "fiftyone_plugin.formats": ("export", "import_masks"),
    "fiftyone_plugin.dataset.comparing": ("compare_runs",),
    "fiftyone_plugin.dataset.editing.names": ("rename_classes", "restore_names"),
    "fiftyone_plugin.dataset.editing": (
        "detections_to_masks",
        "hide_classes",
        "masks_to_detections",
        "merge_same_names",
        "propagate_corrections",
        "show_classes",
        "split_class",
        "undo_edit",
    ),
}


class Reached(PseudoMaskError):
    """The parameters were taken: the library, which has tests of its own, was called."""


@pytest.fixture
def labelled(dataset, fill, fo):
    fill("first", images=2)
    fill("second", 1, images=2)
    dataset.add_sample_field("ground_truth", fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    dataset.add_sample_field("note", fo.StringField)
    return dataset


@pytest.fixture
def idle(monkeypatch):
    """Work is not done: these tests are about what leads to it."""
    import importlib

    def reached(*_args, **_settings):
        raise Reached("reached")

    from fiftyone_plugin.runs import planning

    plan = planning.plan_run(1, [], method="mosaic", backbone=None, size=448, refine=None)
    monkeypatch.setattr(
        planning, "plan_run", lambda *_args, **_settings: plan
    )  # it looks for cached features
    for module, names in WORK.items():
        for name in names:
            monkeypatch.setattr(importlib.import_module(module), name, reached)


def context(name, dataset, params, *, opened=False, **request):
    """Return the context of a request; one whose dataset is ``opened`` does not load it anew."""
    from fiftyone.operators.executor import ExecutionContext, Executor

    uri = f"{PLUGIN_NAME}/{name}"
    request = {"dataset_name": dataset.name, "params": params, **request}
    ctx = ExecutionContext(request, executor=Executor(), operator_uri=uri, required_secrets=[])
    if opened:
        ctx._dataset = dataset
    return ctx


def work(operator, ctx):
    """Execute as Python does, and return the message if it ends with one of this package's errors."""
    try:
        result = operator.execute(ctx)
        if operator.config.execute_as_generator:
            for _ in result:
                pass
    except PseudoMaskError as error:
        return str(error)
    return ""


def inputs_of(operator, ctx):
    form = operator.resolve_type(ctx, "inputs")
    return list(form.type.properties) if form else []


def test_all_operators_are_here(foo):
    named = {operator.name for operator in foo.list_operators() if operator.plugin_name == PLUGIN_NAME}
    unlisted = {name for name in named if foo.get_operator(f"{PLUGIN_NAME}/{name}").config.unlisted}
    assert named - unlisted == set(OPERATORS)


@pytest.mark.parametrize("name", OPERATORS)
def test_wrong_values_are_told_in_a_sentence(foo, labelled, idle, name):
    operator = foo.get_operator(f"{PLUGIN_NAME}/{name}")
    declared = inputs_of(operator, context(name, labelled, {}))
    for key in {*declared, *UNDECLARED.get(name, ()), "field"}:
        for value in WRONG:
            ctx = context(name, labelled, {key: value}, opened=True)
            form = operator.resolve_type(ctx, "inputs")
            if form:
                json.dumps(form.to_json(), default=str)
            operator.resolve_execution_options(ctx)
            message = work(operator, context(name, labelled, {key: value}, opened=True))
            assert "\n" not in message
            assert len(message) < 700
    assert labelled.list_runs() == ["pseudomask_first", "pseudomask_second"]


def test_the_app_is_told_and_not_shown_a_traceback(foo, labelled, idle):
    for name, value in product(OPERATORS, ([], {"a": 1}, "no_such_field", 7)):
        uri = f"{PLUGIN_NAME}/{name}"
        operator = foo.get_operator(uri)
        params = dict.fromkeys({*inputs_of(operator, context(name, labelled, {})), "field"}, value)
        ctx = context(name, labelled, params, opened=True, operator_uri=uri)
        told = operator.execute(ctx)
        streamed = list(told) if operator.config.execute_as_generator else []
        sent = json.dumps([message.body.params for message in streamed]) + json.dumps(
            ctx.executor.to_json(), default=str
        )
        assert "Traceback" not in sent
        for kind in ("TypeError", "KeyError", "AttributeError", "ValueError"):
            assert kind not in sent


@pytest.mark.parametrize(
    "request_", [{"dataset_name": "no such dataset"}, {"dataset_name": None}, {"view_name": "no such view"}]
)
def test_a_dataset_or_view_that_is_gone(foo, labelled, idle, request_):
    for name in OPERATORS:
        operator = foo.get_operator(f"{PLUGIN_NAME}/{name}")
        form = operator.resolve_type(context(name, labelled, {}, **request_), "inputs")
        assert form is None or any(prop.invalid for prop in form.type.properties.values())
        operator.resolve_execution_options(context(name, labelled, {}, **request_))
        assert "open" in work(operator, context(name, labelled, {}, **request_))


def test_the_form_marks_the_input_at_fault_and_keeps_the_others(foo, labelled):
    operator = foo.get_operator(f"{PLUGIN_NAME}/label_dataset")
    shown = operator.resolve_input(context("label_dataset", labelled, {"size": "large"})).type.properties
    assert shown["size"].invalid
    assert shown["size"].error_message == "'size' has to be a whole number from 14 to 4096, not 'large'"
    assert not shown["method"].invalid
    with pytest.raises(Exception, match="'size' has to be a whole number from 14 to 4096"):
        foo.execute_operator(
            operator.uri, {"dataset": labelled}, params={"field": "new", "classes": 3, "size": "large"}
        )


EVENTS = (
    "on_load",
    "on_change_dataset",
    "choose_run",
    "choose_other",
    "click_class",
    "click_bar",
    "click_pair",
    "click_agreement",
    "show_disagreement",
    "show_saved",
    "compare",
    "ask_delete",
    "forget_comparison",
    "rename_class",
    "split_one",
    "hide_one",
    "open_form",
    "toggle",
    "no_such_event",
    "_refresh",
    "config",
)


def panel_says(foo, dataset, params, panel=None):
    ctx = context("pseudomasks", dataset, {"panel_id": "p", **params}, opened=panel is not None)
    (panel or foo.get_operator(f"{PLUGIN_NAME}/pseudomasks")).execute(ctx)
    return json.dumps(ctx.executor.to_json(), default=str)


def test_events_of_the_panel_with_wrong_values(foo, labelled):
    keys = ("value", "row", "column", "idx", "name", "operator", "part")
    states = ("run", "other", "confirm", "classes", "sort", "shown", "more", "details", "sizes")
    values = (None, {"a": 1}, "x", -1, 10**30, math.nan, [[1], {"row": 1}])
    panel = foo.get_operator(f"{PLUGIN_NAME}/pseudomasks")
    for event, value in product(EVENTS, values):
        params = {"__method__": event, **dict.fromkeys(keys, value)}
        said = panel_says(foo, labelled, {**params, "panel_state": dict.fromkeys(states, value)}, panel)
        assert "Error:" not in said
        said = panel_says(foo, labelled, {**params, "panel_state": deepcopy(value)}, panel)
        assert "Error:" not in said
    assert labelled.list_runs() == ["pseudomask_first", "pseudomask_second"]


def test_events_that_the_panel_does_not_know(foo, dataset):
    for event in ([], {}, 5, "no_such_event", "__init__", "_refresh", "plugin_name"):
        said = panel_says(foo, dataset, {"__method__": event, "panel_state": {}})
        assert "knows no such event" in said


class TestDatabase:
    @pytest.fixture
    def gone(self, monkeypatch):
        """Every command fails as it does once the server is gone."""
        import pymongo.collection
        from pymongo.errors import ServerSelectionTimeoutError

        def fail(*_args, **_options):
            raise ServerSelectionTimeoutError("127.0.0.1:1: [Errno 111] Connection refused, Timeout: 30s")

        for name in ("find", "find_one", "aggregate", "update_one", "insert_one", "bulk_write"):
            monkeypatch.setattr(pymongo.collection.Collection, name, fail)

    @pytest.mark.parametrize("name", OPERATORS)
    def test_operators_say_what_is_safe_and_how_to_go_on(self, foo, dataset, gone, name):
        uri = f"{PLUGIN_NAME}/{name}"
        operator = foo.get_operator(uri)
        form = operator.resolve_type(context(name, dataset, {}), "inputs")
        assert form is None or "does not answer" in json.dumps(form.to_json(), default=str)
        operator.resolve_execution_options(context(name, dataset, {}))
        said = work(operator, context(name, dataset, {}))
        assert "database does not answer" in said
        assert "safe" in said
        # one that shows its work in the panel is executed a second time once its window has closed
        ctx = context(name, dataset, {"apart": True} if operator.apart else {}, operator_uri=uri)
        told = operator.execute(ctx)
        streamed = list(told) if operator.config.execute_as_generator else []
        sent = json.dumps([message.body.params for message in streamed]) + json.dumps(ctx.executor.to_json())
        assert "does not answer" in sent
        assert "Errno" not in sent
        assert "reload_dataset" not in [message.body.operator_uri for message in streamed]

    @pytest.mark.parametrize("event", ["on_load", "click_class", "ask_delete"])
    def test_the_panel_says_so_too(self, foo, dataset, gone, event):
        said = panel_says(foo, dataset, {"__method__": event, "panel_state": {}})
        assert "does not answer" in said
        assert "Errno" not in said
