"""Going on with a run by its field alone: its images and settings are those that it was begun with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fiftyone_plugin import label_dataset
from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.dataset.record import list_runs, update_record
from fiftyone_plugin.dataset.resuming import done_of, resume_run, unfinished_runs
from fiftyone_plugin.errors import UsageError


class Enough(Exception):
    pass


def stop_at(stage_name, after):
    def look(stage, done, total):
        if stage == stage_name and done >= after:
            raise Enough

    return CallbackProgress(look, 0)


@pytest.fixture
def stopped(dataset, fast):
    """A run of five images in chosen settings, stopped after two masks."""
    view = dataset.limit(5)
    with pytest.raises(Enough):
        label_dataset(view, "auto", **fast | {"seed": 3, "classes": 4}, progress=stop_at("masks", 2))
    return dataset


def masks(dataset, field):
    return {
        Path(path).name: Path(path).read_bytes()
        for path in dataset.exists(field).values(f"{field}.mask_path")
    }


def test_it_goes_on_to_the_same_bytes(stopped, fast):
    (run,) = unfinished_runs(stopped).values()
    done, images = done_of(run)
    assert (2 <= done < 5, images) == (True, 5)
    result = resume_run(stopped, "auto")
    assert len(result.labelled) == 5
    assert result.run["settings"]["seed"] == 3
    assert unfinished_runs(stopped) == {}
    label_dataset(stopped.limit(5), "whole", **fast | {"seed": 3, "classes": 4})
    assert sorted(masks(stopped, "auto").values()) == sorted(masks(stopped, "whole").values())
    with pytest.raises(UsageError, match="no unfinished run"):
        resume_run(stopped, "auto")


def test_stopped_before_anything_was_listed(dataset, fast):
    with pytest.raises(Enough):
        label_dataset(dataset.skip(3), "auto", **fast, progress=stop_at("load backbone", 0))
    if not unfinished_runs(dataset):  # nothing came of it, and nothing is left
        assert list_runs(dataset) == []
        return
    assert len(resume_run(dataset, "auto").labelled) == len(dataset) - 3


def test_a_view_of_many_ids_is_found_by_its_images(dataset, fast, monkeypatch):
    monkeypatch.setattr("fiftyone_plugin.dataset.claiming.MAX_STAGES", 0)
    with pytest.raises(Enough):
        label_dataset(dataset, "auto", **fast, progress=stop_at("masks", 2))
    (run,) = list_runs(dataset)
    assert not run.pending["label"]["view"]
    assert len(resume_run(dataset, "auto").labelled) == len(dataset)


@pytest.mark.parametrize("asked", [None, 7, "", "[]", json.dumps({"classes": 4})])
def test_settings_that_are_not_known(stopped, asked):
    update_record(stopped, "pseudomask_auto", pending={"label": {"asked": asked}})
    with pytest.raises(UsageError, match=r"are not known any more: label the images into 'auto' again"):
        resume_run(stopped, "auto")


def test_a_damaged_record_is_said_when_the_run_is_to_go_on(stopped):
    (run,) = unfinished_runs(stopped).values()
    (Path(run.out) / "run.json").write_text("{")
    done, images = done_of(run)
    assert (2 <= done < 5, images) == (True, None)
    with pytest.raises(UsageError, match=r"run\.json"):
        resume_run(stopped, "auto")
