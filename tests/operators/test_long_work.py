"""Runs that do not end by themselves: killed, stopped, cancelled, out of time, or started twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.summary import list_runs
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features import backbones
from fiftyone_plugin.runs.stopping import RunStopped, is_at_work

pytestmark = pytest.mark.slow

URI = f"{PLUGIN_NAME}/label_dataset"
FIELD = "auto"

CHILD = """
import sys, time
import fiftyone as fo
from fiftyone_plugin import label_dataset
from fiftyone_plugin.common.progress import CallbackProgress

def slow(stage, done, total):
    print(stage, done, flush=True)
    if stage == "masks":
        time.sleep(0.4)

settings = dict(method="lightcluster", size=96, classes=3, refine="none", jobs=1, backbone=sys.argv[2])
settings["batch_size"] = 1
label_dataset(fo.load_dataset(sys.argv[1]), "auto", progress=CallbackProgress(slow, 0), **settings)
"""

WORKER = """
import sys, time
from fiftyone.operators import executor
from fiftyone.operators.delegated import DelegatedOperationService
from fiftyone_plugin import progress

begin = progress.CallbackProgress.__init__
progress.CallbackProgress.__init__ = lambda self, callback, interval=0: begin(self, callback, 0)

def slow(self, progress=None, label=None):
    print(label, flush=True)
    if label.startswith("masks"):
        time.sleep(0.3)

executor.ExecutionContext.set_progress = slow
DelegatedOperationService().execute_queued_operations(dataset_name=sys.argv[1])
"""


@pytest.fixture
def child(dataset, tiny_weights):
    """A process that labels the dataset slowly; yields once it has written a mask."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), dataset.name, tiny_weights],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("masks") and int(line.split()[-1]) >= 2:
            break
    dataset.reload()
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def masks_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "masks").glob("*.png"))}


def run_of(dataset):
    dataset.reload()
    (run,) = list_runs(dataset)
    return run


def test_a_run_at_work_is_neither_run_twice_nor_undone_but_stopped(foo, dataset, child, fast):
    stop = foo.get_operator(f"{PLUGIN_NAME}/stop_run")
    out = Path(run_of(dataset).out)
    assert is_at_work(out)
    with pytest.raises(UsageError, match="another process"):
        label_dataset(dataset, FIELD, **fast)
    with pytest.raises(UsageError, match="at work"):
        label_dataset(dataset, FIELD, restart=True, **fast)
    with pytest.raises(UsageError, match="at work"):
        undo(dataset, "pseudomask_auto")
    stop(dataset, FIELD)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 1
    said = errors.strip().splitlines()[-1]
    assert "of 7 masks are done, and kept" in said
    kept = masks_of(out)
    assert 0 < len(kept) < len(dataset)
    assert said.split(" of 7")[0].split()[-1] == str(len(kept))
    with pytest.raises(Exception, match="no run is at work"):
        stop(dataset, FIELD)
    result = label_dataset(dataset, FIELD, **fast)
    assert len(result.labelled) == len(dataset) == len(dataset.exists(FIELD))
    assert kept.items() <= masks_of(out).items()
    assert run_of(dataset).status == "complete"


class TestOperators:
    @pytest.fixture
    def params(self, tiny_weights):
        return {
            "field": FIELD,
            "method": "lightcluster",
            "size": 96,
            "classes": 3,
            "refine": "none",
            "backbone": "file",
            "weights": tiny_weights,
        }

    @pytest.fixture
    def context(self, context, dataset):
        """The context of a request as the App sends it."""
        return lambda params, uri=URI: context(uri, dataset, params | {"apart": True}, operator_uri=uri)

    def messages(self, foo, context, uri=URI):
        """What the operator tells the App: (operator, its parameters)."""
        told = foo.get_operator(uri).execute(context)
        return [(message.body.operator_uri, message.body.params) for message in told]

    def test_progress_has_stage_rate_and_time_left(self, foo):
        module = sys.modules[type(foo.get_operator(URI)).__module__.replace("label_dataset", "running")]
        assert module.describe_stage("masks", 3, 7, 6.0) == {
            "progress": 3 / 7,
            "label": "masks: 3 of 7, 2.0 s each, 8 s left",
        }
        assert module.describe_stage("sample", 1000, None, 4.0)["label"] == "sample: 1,000, 250.0 a second"

    def test_the_panel_shows_progress_and_no_window_comes(self, foo, context, params, monkeypatch):
        from fiftyone_plugin.runs import noting

        monkeypatch.setattr(noting, "INTERVAL_S", 0.0)
        told = foo.get_operator(URI).execute(context(params))
        assert next(told).body.operator_uri == "open_panel"
        rest = []
        thread = threading.Thread(target=lambda: rest.extend(told))
        thread.start()
        state, seen = {}, []
        while thread.is_alive():
            event = {
                "__method__": "watch" if state else "on_load",
                "panel_id": "p",
                "panel_state": dict(state),
            }
            asked = context(event, uri=f"{PLUGIN_NAME}/pseudomasks")
            foo.get_operator(f"{PLUGIN_NAME}/pseudomasks").execute(asked)
            state = asked.panel.state._data or state
            seen.append(json.dumps(asked.executor.to_json(), default=str))
        thread.join()
        assert any(f"Labelling {FIELD}" in each and "TimerView" in each for each in seen)
        assert any("masks: " in each for each in seen)
        names = [message.body.operator_uri for message in rest]
        assert names[:2] == ["reload_dataset", "set_active_fields"]
        assert names[-1] == "notify"
        assert not {"set_progress", "show_output"} & set(names)

    def test_the_limit_of_the_app_is_not_reached_silently(
        self, fo, foo, dataset, context, params, monkeypatch
    ):
        monkeypatch.setattr(fo.config, "operator_timeout", 0.001)
        told = self.messages(foo, context(params))
        shown = json.dumps([params for name, params in told if name == "show_output"])
        assert "Stopped, and kept what is done" in shown
        assert "limit" in shown
        assert "To go on" in shown
        assert [params["variant"] for name, params in told if name == "notify"] == ["error"]
        assert run_of(dataset).status == "running"
        monkeypatch.undo()
        self.messages(foo, context(params))
        assert run_of(dataset).status == "complete"
        assert len(dataset.exists(FIELD)) == len(dataset)

    def test_the_run_goes_on_when_the_page_is_left(self, foo, dataset, context, params):
        told = foo.get_operator(URI).execute(context(params))
        assert next(told).body.operator_uri == "open_panel"
        told.close()
        for thread in [each for each in threading.enumerate() if each.name == "pseudomask"]:
            thread.join(120)
        assert run_of(dataset).status == "complete"
        assert len(dataset.exists(FIELD)) == len(dataset)

    def test_python_has_no_limit(self, fo, foo, dataset, fast, monkeypatch):
        monkeypatch.setattr(fo.config, "operator_timeout", 0.001)
        settings = {name: value for name, value in fast.items() if name != "jobs"}
        foo.get_operator(URI)(dataset, FIELD, **settings)
        assert run_of(dataset).status == "complete"

    def test_errors_are_told_in_words(self, foo, dataset, context, params, tmp_path):
        bad = tmp_path / "weights.safetensors"
        bad.write_bytes(b"none")
        told = self.messages(foo, context({**params, "weights": str(bad)}))
        text = next(params["message"] for name, params in told if name == "notify")
        assert "not a readable checkpoint" in text
        assert "Traceback" not in json.dumps([params for _, params in told])
        dataset.reload()
        assert dataset.list_runs() == []

    def test_a_failed_operation_stops_within_a_batch_and_goes_on(self, foo, dataset, params, monkeypatch):
        """``fiftyone delegated fail`` while the worker is at its masks."""
        from fiftyone.operators.delegated import DelegatedOperationService
        from fiftyone.operators.executor import ExecutionContext

        module = sys.modules[type(foo.get_operator(URI)).__module__.replace("label_dataset", "running")]
        monkeypatch.setattr(module, "INTERVAL_S", 0.0)
        monkeypatch.setattr(backbones, "pick_batch_size", lambda backbone, size: 1)
        service = DelegatedOperationService()
        original = ExecutionContext.set_progress
        seen = []

        def watch(self, progress=None, label=None):
            original(self, progress=progress, label=label)
            seen.append(label)
            if label.startswith("masks: 2"):
                service.set_failed(self._delegated_operation_id)

        monkeypatch.setattr(ExecutionContext, "set_progress", watch)
        foo.execute_operator(URI, {"dataset": dataset}, params=params, request_delegation=True)
        service.execute_queued_operations(dataset_name=dataset.name)
        assert seen[-1].startswith("masks: 2")
        (operation,) = service.list_operations(dataset_name=dataset.name)
        assert operation.run_state == "failed"
        run = run_of(dataset)
        assert run.status == "running"
        assert 0 < len(masks_of(Path(run.out))) <= 3
        assert not dataset.has_sample_field(FIELD)
        monkeypatch.undo()
        service.rerun_operation(operation.id)
        service.execute_queued_operations(dataset_name=dataset.name)
        assert run_of(dataset).status == "complete"
        assert len(dataset.exists(FIELD)) == len(dataset)
        for each in service.list_operations(dataset_name=dataset.name):
            service.delete_operation(each.id)

    def test_a_killed_worker_leaves_a_run_that_is_marked_goes_on_and_comes_out_the_same(
        self, foo, dataset, params, fast, tmp_path
    ):
        from fiftyone.operators.delegated import DelegatedOperationService

        before = set(dataset.get_field_schema())
        foo.execute_operator(URI, {"dataset": dataset}, params=params, request_delegation=True)
        command = [sys.executable, "-c", textwrap.dedent(WORKER), dataset.name]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for line in worker.stdout:
            if line.startswith("masks: 3"):
                break
        os.killpg(worker.pid, signal.SIGKILL)  # with the processes that it has started for its masks
        worker.communicate()
        run = run_of(dataset)
        out = Path(run.out)
        assert run.status == "running"
        assert "not complete" in run.title
        assert not is_at_work(out)
        assert not dataset.has_sample_field(FIELD)
        done = {path: path.stat().st_mtime_ns for path in (out / "masks").glob("*.png")}
        assert 0 < len(done) < len(dataset)
        service = DelegatedOperationService()
        (operation,) = service.list_operations(dataset_name=dataset.name)
        assert operation.run_state == "running"  # nobody is left to say otherwise
        service.set_failed(operation.id)
        service.rerun_operation(operation.id)
        service.execute_queued_operations(dataset_name=dataset.name)
        assert run_of(dataset).status == "complete"
        assert len(dataset.exists(FIELD)) == len(dataset)
        assert all(path.stat().st_mtime_ns == written for path, written in done.items())
        label_dataset(dataset, "whole", out=tmp_path / "whole", **fast)
        assert masks_of(out) == masks_of(tmp_path / "whole")
        for each in service.list_operations(dataset_name=dataset.name):
            service.delete_operation(each.id)
        undo(dataset, "pseudomask_whole")
        undo(dataset, "pseudomask_auto")
        assert set(dataset.get_field_schema()) == before
        assert not out.exists()


def test_a_stopped_run_says_how_to_go_on(dataset, fast, monkeypatch):
    class StopAtMasks:
        def stage(self, name, total=None, unit="img"):
            if name == "masks":
                raise RunStopped("stopped as asked")
            from fiftyone_plugin.common.progress import NullProgress

            return NullProgress().stage(name, total, unit)

    with pytest.raises(RunStopped, match="0 of 7 masks are done, and kept"):
        label_dataset(dataset, FIELD, progress=StopAtMasks(), **fast)
    assert run_of(dataset).status == "running"
    undo(dataset, "pseudomask_auto")
