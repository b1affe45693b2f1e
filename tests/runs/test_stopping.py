"""Stopping a run from outside: requests, what is kept, and that only a run at work can be asked."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time

import pytest

from fiftyone_plugin.common.progress import CallbackProgress, NullProgress, annotate
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.stopping import RunStopped, StoppableProgress, is_at_work, request_stop


@pytest.fixture
def reserved(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    directory.reserve(resume=False, restart=False)
    yield directory
    directory.close()


def test_only_a_run_at_work_can_be_asked(tmp_path, reserved):
    assert is_at_work(reserved.root)
    assert request_stop(reserved.root)
    assert not is_at_work(tmp_path / "nothing")
    assert not request_stop(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_asking_does_not_disturb_the_lock(reserved):
    for _ in range(3):
        assert is_at_work(reserved.root)
    with pytest.raises(UsageError, match="another process"):
        RunDirectory(reserved.root).reserve(resume=True, restart=False)
    reserved.close()
    assert not is_at_work(reserved.root)


def test_a_request_ends_the_stage_at_its_next_update(reserved, monkeypatch):
    monkeypatch.setattr("fiftyone_plugin.runs.stopping.INTERVAL_S", 0.0)
    progress = StoppableProgress(NullProgress(), reserved.root)
    done = []

    def work():
        with progress.stage("masks", total=5) as stage:
            for number in range(5):
                done.append(number)
                if number == 2:
                    assert request_stop(reserved.root)
                stage.update()

    with pytest.raises(RunStopped):
        work()
    assert done == [0, 1, 2]
    assert not (reserved.work / "stop").exists()


def test_a_request_ends_the_run_before_its_next_stage(reserved, monkeypatch):
    monkeypatch.setattr("fiftyone_plugin.runs.stopping.INTERVAL_S", 0.0)
    progress = StoppableProgress(NullProgress(), reserved.root)
    with progress.stage("first"):
        request_stop(reserved.root)
    with pytest.raises(RunStopped), progress.stage("second"):
        pytest.fail("the second stage began")


def test_an_old_request_is_forgotten(reserved):
    (reserved.work / "stop").touch()
    with StoppableProgress(NullProgress(), reserved.root).stage("first") as stage:
        stage.update()
    assert not (reserved.work / "stop").exists()


def test_everything_else_reaches_the_wrapped_stage(reserved):
    seen = []

    class Bar:
        def update(self, n=1):
            seen.append(n)

        def set_postfix_str(self, text, refresh):
            seen.append((text, refresh))

    class Inner(CallbackProgress):
        def stage(self, name, total=None, unit="img"):
            from contextlib import nullcontext

            return nullcontext(Bar())

    with StoppableProgress(Inner(print), reserved.root).stage("fit", 2) as stage:
        stage.update(2)
        annotate(stage, "loss 1")
    assert seen == [2, ("loss 1", False)]


def test_a_killed_process_is_not_at_work(tmp_path):
    out = tmp_path / "run"
    code = f"""
    import time
    from pathlib import Path
    from fiftyone_plugin.runs.folder import RunDirectory
    directory = RunDirectory(Path({str(out)!r}))
    directory.reserve(resume=False, restart=False)
    print("ready", flush=True)
    time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        assert is_at_work(out)
    finally:
        process.kill()
        process.wait()
    end = time.monotonic() + 5
    while is_at_work(out) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_at_work(out)
