"""Operator ``quick_label``: the button, the name of the field, the run, and when it is delegated."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fiftyone_plugin import undo
from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.summary import free_field

pytestmark = pytest.mark.slow

URI = f"{PLUGIN_NAME}/quick_label"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "m"),
        (["other", "m2"], "m"),
        (["m"], "m_2"),
        (["m", "m_2", "m_4"], "m_3"),
        (["m_quality"], "m_2"),  # a run would write this field too
        (["m", "m_2_classes"], "m_3"),
    ],
)
def test_a_free_field_has_none_of_the_names_that_a_run_writes(taken, expected):
    assert free_field(taken, "m") == expected


def test_the_suffixes_are_those_that_a_run_writes(dataset):
    from fiftyone_plugin.dataset.claiming import claim
    from fiftyone_plugin.dataset.keys import FIELD_SUFFIXES

    record, _ = claim(dataset, "m", None, overwrite=False, restart=False)
    assert record.fields == ["m", *(f"m_{suffix}" for suffix in FIELD_SUFFIXES)]


def test_the_button_runs_without_a_form(foo, dataset, context):
    placement = foo.get_operator(URI).resolve_placement(context(URI, dataset)).to_json()
    assert placement["view"]["prompt"] is False
    assert placement["place"] == "samples-grid-secondary-actions"


@pytest.mark.usefixtures("backbone")
def test_each_run_fills_the_next_field(foo, dataset):
    view = dataset.limit(2)
    foo.get_operator(URI)(view)
    first = view.values("pseudomask.mask_path")
    foo.get_operator(URI)(dataset.limit(1))
    assert dataset.list_runs() == ["pseudomask_pseudomask", "pseudomask_pseudomask_2"]
    assert view.values("pseudomask.mask_path") == first
    assert len(dataset.exists("pseudomask")) == 2
    assert len(dataset.exists("pseudomask_2")) == 1
    for key in dataset.list_runs():
        undo(dataset, key)


@pytest.fixture
def clicked(foo, dataset, context):
    """What the operator tells the App after a click: (operator, its parameters)."""

    def click():
        told = foo.get_operator(URI).execute(context(URI, dataset, operator_uri=URI))
        return [(message.body.operator_uri, message.body.params) for message in told]

    return click


def test_a_click_on_a_large_view_schedules_it_and_says_so(fo, dataset, clicked):
    from fiftyone.operators.delegated import DelegatedOperationService

    path = dataset.first().filepath
    dataset.add_samples([fo.Sample(filepath=path) for _ in range(3000)])
    told = clicked()
    assert [name for name, _ in told] == ["show_output", "notify"]
    assert told[0][1]["results"]["worker"] == "fiftyone delegated launch"
    assert "scheduled" in told[1][1]["message"]
    assert "fiftyone delegated launch" in told[1][1]["message"]
    assert dataset.list_runs() == []
    service = DelegatedOperationService()
    (operation,) = service.list_operations(dataset_name=dataset.name)
    assert (operation.operator, operation.run_state) == (URI, "queued")
    assert len(operation.context.view) == len(dataset)
    service.delete_operation(operation.id)


@pytest.mark.usefixtures("backbone")
def test_a_scheduled_click_labels_the_view_it_was_made_on(foo, dataset):
    from fiftyone.operators.delegated import DelegatedOperationService

    view = dataset.limit(2)
    foo.execute_operator(URI, {"view": view}, request_delegation=True)
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=dataset.name)
    (operation,) = service.list_operations(dataset_name=dataset.name)
    assert operation.run_state == "completed", operation.result and operation.result.error
    counted = {name: operation.result.result[name] for name in ("field", "labelled", "skipped")}
    assert counted == {"field": "pseudomask", "labelled": 2, "skipped": 0}
    assert dataset.exists("pseudomask").values("id") == view.values("id")
    undo(dataset, "pseudomask_pseudomask")
    service.delete_operation(operation.id)


@pytest.mark.usefixtures("backbone")
def test_a_click_after_an_interrupted_one_goes_on_with_it(dataset, clicked, foo):
    from fiftyone_plugin import label_dataset
    from fiftyone_plugin.common.progress import CallbackProgress

    def stop(stage, done, total):
        if stage == "masks" and done == 3:
            raise KeyboardInterrupt

    def interrupt(view, field):
        with pytest.raises(KeyboardInterrupt):
            label_dataset(view, field, progress=CallbackProgress(stop, 0))

    interrupt(dataset, "pseudomask")
    masks = Path(dataset.get_run_info("pseudomask_pseudomask").config.out) / "masks"
    done = {path: path.stat().st_mtime_ns for path in masks.glob("*.png")}
    assert 0 < len(done) < len(dataset)
    foo.get_operator(URI)(dataset.limit(1))  # other images: a field of their own
    assert dataset.list_runs() == ["pseudomask_pseudomask", "pseudomask_pseudomask_2"]
    told = clicked()
    names = [name for name, _ in told]
    assert names[0] == "notify"
    assert "Labelling 7 images, about" in told[0][1]["message"]
    shown = ["reload_dataset", "set_active_fields", "set_color_scheme", f"{PLUGIN_NAME}/show_anew", "notify"]
    assert names[-5:] == shown
    assert told[-1][1]["message"] == "7 images labelled in 'pseudomask'"
    dataset.reload()
    assert len(dataset.exists("pseudomask")) == len(dataset)
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())
    assert dataset.list_runs() == ["pseudomask_pseudomask", "pseudomask_pseudomask_2"]
    for key in dataset.list_runs():
        undo(dataset, key)


@pytest.mark.usefixtures("backbone")
def test_a_second_click_while_the_first_is_at_work_labels_nothing_twice(dataset, foo, context, clicked):
    first = foo.get_operator(URI).execute(context(URI, dataset, operator_uri=URI))
    assert "Labelling 7 images" in next(first).body.params["message"]
    ((name, told),) = clicked()
    assert (name, told["variant"]) == ("notify", "info")
    assert "still at work" in told["message"]
    list(first)
    assert dataset.list_runs() == ["pseudomask_pseudomask"]
    assert any("labelled" in params.get("message", "") for _, params in clicked())  # a third one does
    for key in dataset.list_runs():
        undo(dataset, key)


def test_a_click_on_what_cannot_be_labelled_says_why(dataset, clicked):
    dataset.delete_samples(dataset.values("id"))
    told = clicked()
    assert "the view is empty" in next(params["message"] for name, params in told if name == "notify")


def test_buttons_load_nothing_heavy_but_what_fiftyone_has_loaded():
    code = """
import sys
import fiftyone.operators
heavy = {"torch", "timm", "sklearn", "scipy", "cv2", "faiss"} - set(sys.modules)
import operators
from operators.quick_label import QuickLabel
operators.operator_classes()
QuickLabel().resolve_placement(None)
print(sorted(heavy & set(sys.modules)), "fiftyone_plugin.runs.pipeline" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[] False"], done.stderr
