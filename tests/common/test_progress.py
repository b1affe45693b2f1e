"""Progress: to a callback, to the console, timed, or to nowhere."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fiftyone_plugin.common.progress import (
    CallbackProgress,
    CheckedProgress,
    ConsoleProgress,
    NullProgress,
    TimedProgress,
)


def test_callback_at_both_ends_and_not_more_often_than_asked():
    calls = []
    progress = CallbackProgress(lambda *args: calls.append(args), interval=60)
    with progress.stage("masks", total=100) as stage:
        for _ in range(50):
            stage.update()
        stage.update(50)
    assert calls == [("masks", 0, 100), ("masks", 100, 100)]


def test_callback_in_between():
    calls = []
    progress = CallbackProgress(lambda *args: calls.append(args), interval=0)
    with progress.stage("masks") as stage:
        stage.update()
        stage.update(2)
    assert calls == [("masks", 0, None), ("masks", 1, None), ("masks", 3, None), ("masks", 3, None)]


def test_interval_is_kept():
    times = []
    progress = CallbackProgress(lambda *_: times.append(time.monotonic()), interval=0.05)
    with progress.stage("masks", total=1000) as stage:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            stage.update()
            time.sleep(0.001)
    gaps = np.diff(times[:-1])  # the last report comes when the stage ends
    assert len(times) >= 4
    assert min(gaps) >= 0.05


class Cancelled(Exception):
    pass


def test_an_exception_of_the_callback_ends_the_stage():
    def cancel(stage, done, total):
        if done >= 3:
            raise Cancelled

    with pytest.raises(Cancelled), CallbackProgress(cancel, interval=0).stage("masks") as stage:
        stage.update(10)


def test_no_last_report_after_a_failure():
    calls = []
    with pytest.raises(Cancelled), CallbackProgress(lambda *a: calls.append(a), 60).stage("masks"):
        raise Cancelled
    assert calls == [("masks", 0, None)]


def test_timed_sums_repeats_and_passes_on():
    calls = []
    timed = TimedProgress(CallbackProgress(lambda *args: calls.append(args), interval=0))
    for _ in range(2):
        with timed.stage("a", 2) as stage:
            time.sleep(0.02)
            stage.update(2)
    with pytest.raises(ValueError, match="boom"), timed.stage("b"):
        raise ValueError("boom")
    assert set(timed.seconds) == {"a", "b"}
    assert 0.04 <= timed.seconds["a"] < 0.5
    assert ("a", 2, 2) in calls


def test_a_stage_that_ends_well_is_complete(capsys):
    calls = []
    for progress in (CallbackProgress(lambda *args: calls.append(args), interval=60), ConsoleProgress()):
        with progress.stage("masks", total=7) as stage:
            stage.update(5)
        with progress.stage("more", total=2) as stage:
            stage.update(3)
    assert calls == [("masks", 0, 7), ("masks", 7, 7), ("more", 0, 2), ("more", 3, 2)]
    assert "7/7" in capsys.readouterr().err


def test_null_is_silent(capsys):
    with NullProgress().stage("a", 3) as stage:
        stage.update(3)
    assert capsys.readouterr() == ("", "")


def test_console_shows_rate_and_time_left_on_stderr(capsys):
    with ConsoleProgress().stage("masks", total=4) as stage:
        for _ in range(4):
            time.sleep(0.3)
            stage.update()
    out, err = capsys.readouterr()
    assert out == ""
    assert "masks" in err
    assert "img/s" in err
    assert "4/4" in err
    assert "<00:0" in err  # elapsed<left


def test_a_check_ends_the_work_at_the_next_update():
    done, wanted = [], []

    def check():
        if wanted:
            raise Cancelled

    progress = CheckedProgress(CallbackProgress(lambda *args: done.append(args), interval=0), check)
    with progress.stage("masks", total=3) as stage:
        stage.update()
        wanted.append(True)
        with pytest.raises(Cancelled):
            stage.update()
        assert done[-1] == ("masks", 2, 3)  # what was done is said all the same
    with pytest.raises(Cancelled), progress.stage("the next"):
        raise AssertionError("it begins")
