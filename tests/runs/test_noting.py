"""The note on disk of how far a run is: what it says at work, at its end, and where it is not sound."""

from __future__ import annotations

import json
import os
import time

import pytest

from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.runs import noting
from fiftyone_plugin.runs.cleaning import remove_work
from fiftyone_plugin.runs.noting import NotedProgress, forget_note, is_running, note_end, read_note


@pytest.fixture
def out(tmp_path):
    (tmp_path / ".work").mkdir()
    return tmp_path


def test_a_stage_is_noted_from_its_beginning(out, monkeypatch):
    monkeypatch.setattr(noting, "INTERVAL_S", 0.0)
    with NotedProgress(NullProgress(), out).stage("masks", 7) as stage:
        assert (read_note(out).stage, read_note(out).done, read_note(out).total) == ("masks", 0, 7)
        stage.update(3)
        stage.update()
        note = read_note(out)
        assert (note.done, note.share) == (4, 4 / 7)
        assert 0 <= note.seconds < 60
        assert abs(note.at - time.time()) < 60
    assert is_running(out)


def test_it_is_not_noted_too_often(out):
    with NotedProgress(NullProgress(), out).stage("masks", 7) as stage:
        stage.update(3)
        assert read_note(out).done == 0


def test_a_reason_ends_the_run_and_the_stage_stays(out):
    with NotedProgress(NullProgress(), out).stage("features", None):
        pass
    note_end(out, ValueError("no room"))
    note = read_note(out)
    assert (note.stage, note.reason, note.share) == ("features", "no room", 0.0)
    assert not is_running(out)
    forget_note(out)
    assert read_note(out) is None


def test_an_old_note_is_of_nobody(out):
    path = out / ".work" / "progress.json"
    path.write_text(json.dumps({"stage": "masks", "at": time.time() - 3600}))
    assert read_note(out).stage == "masks"
    assert not is_running(out)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"stage": 5}', '{"stage": "a", "done": -1}', '{"stage": "a", "at": "now"}', '{"b": 1}'],
)
def test_a_note_that_is_not_sound_is_none(out, text):
    (out / ".work" / "progress.json").write_text(text)
    assert read_note(out) is None


def test_without_a_folder_nothing_is_written_and_the_work_goes_on(tmp_path):
    with NotedProgress(NullProgress(), tmp_path).stage("masks", 1) as stage:
        stage.update()
    note_end(tmp_path, "stopped")
    assert os.listdir(tmp_path) == []


def test_it_goes_with_the_working_files(out):
    note_end(out, "stopped")
    remove_work(out)
    assert read_note(out) is None
