"""Saved views of runs: what they show, that they are live, and that nobody else's are touched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin import undo
from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.dataset.labelling import create_views
from fiftyone_plugin.dataset.record import RunFields, RunRecord, save_record
from fiftyone_plugin.dataset.views import delete_views, list_views, rare_classes
from fiftyone_plugin.errors import UsageError


@pytest.fixture
def scored(fo):
    """A dataset of 200 samples without files, with the record of a run and its scores but 20 samples."""
    dataset = fo.Dataset()
    rng = np.random.default_rng(0)
    for i in range(200):
        sample = fo.Sample(filepath=f"/nowhere/{i}.jpg")
        if i % 10:
            sample["m"] = fo.Segmentation(mask_path=f"/nowhere/{i}.png")
            sample["m_quality"] = float(rng.random())
            sample["m_classes"] = ["sky"] + ["tree"] * (i % 3 == 0) + ["boat"] * (i < 6)
        dataset.add_sample(sample)
    register(dataset, "m")
    yield dataset
    dataset.delete()


def register(dataset, field, status="complete"):
    fields = RunFields(field).all
    save_record(dataset, RunRecord(field, "/nowhere/run", fields, fields, status))


def test_what_they_show(scored):
    names = create_views(scored, run_key("m"))
    assert names == {name: f"m: {name}" for name in ("review first", "accept", "rare classes")}
    quality = np.array([q for q in scored.values("m_quality") if q is not None])
    review = scored.load_saved_view(names["review first"]).values("m_quality")
    assert review == sorted(quality)[: len(quality) // 5]
    accept = scored.load_saved_view(names["accept"]).values("m_quality")
    assert accept == sorted(quality)[::-1][: len(accept)]
    assert len(accept) / len(quality) == pytest.approx(0.4, abs=0.01)
    rare = scored.load_saved_view(names["rare classes"])
    assert len(rare) == 5
    assert all("boat" in found for found in rare.values("m_classes"))
    config = scored.get_run_info(run_key("m")).config
    assert dict(config.saved_views) == names


def test_they_are_queries(scored):
    create_views(scored, run_key("m"))
    sample = scored.load_saved_view("m: accept").first()
    sample["m_quality"] = 0.0
    sample["m_classes"] = ["boat"]
    sample.save()
    assert scored.load_saved_view("m: review first").first().id == sample.id
    assert sample.id in scored.load_saved_view("m: rare classes").values("id")
    assert sample.id not in scored.load_saved_view("m: accept").values("id")


def test_views_of_people_are_never_touched(scored):
    scored.save_view("m: accept", scored.limit(1), description="mine")
    scored.save_view("M review-first", scored.limit(2))  # the same address in the App
    names = create_views(scored, run_key("m"))
    assert names["accept"] == "m: accept 2"
    assert names["review first"] == "m: review first 2"
    assert create_views(scored, run_key("m")) == names  # its own are replaced
    delete_views(scored, run_key("m"))
    assert scored.list_saved_views() == ["m: accept", "M review-first"]
    assert len(scored.load_saved_view("m: accept")) == 1


def test_a_view_that_a_person_renamed_is_still_the_runs(scored):
    create_views(scored, run_key("m"))
    scored.update_saved_view_info("m: accept", {"name": "good ones"})
    found = {view.purpose: view.name for view in list_views(scored, run_key("m"))}
    assert found == {
        "review first": "m: review first",
        "accept": "good ones",
        "rare classes": "m: rare classes",
    }
    delete_views(scored, run_key("m"))
    assert scored.list_saved_views() == []


def test_runs_whose_keys_begin_alike_keep_their_own(scored):
    scored.clone_sample_field("m", "m_2")
    scored.clone_sample_field("m_quality", "m_2_quality")
    register(scored, "m_2")
    create_views(scored, run_key("m"))
    create_views(scored, run_key("m_2"))
    delete_views(scored, run_key("m"))
    assert scored.list_saved_views() == ["m_2: review first", "m_2: accept"]


def test_without_values_there_are_no_views(fo, scored):
    register(scored, "empty")
    assert create_views(scored, run_key("empty")) == {}
    scored.add_sample_field("empty_quality", fo.FloatField)
    assert create_views(scored, run_key("empty")) == {}


def test_equal_scores_are_to_review_and_not_to_accept(scored):
    scored.set_values("m_quality", [0.5] * 200)
    create_views(scored, run_key("m"))
    assert len(scored.load_saved_view("m: review first")) == 200
    assert len(scored.load_saved_view("m: accept")) == 0


def test_refusals(scored):
    register(scored, "late", status="running")
    scored.register_run("theirs", scored.init_run(method="other", field="m", status="complete"))
    for key in ("nothing", "theirs", run_key("late")):
        with pytest.raises(UsageError, match=key):
            create_views(scored, key)
    assert scored.list_saved_views() == []


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(0, 100)))
def test_rare_classes_are_rarer_than_all_others(counts):
    rare = rare_classes(counts, 100)
    shown = {name: count for name, count in counts.items() if count}
    assert (rare == []) == (len(set(shown.values())) < 2)
    others = [count for name, count in shown.items() if name not in rare]
    for name in rare:
        assert all(counts[name] < count for count in others)
        assert counts[name] <= 5 or counts[name] == min(shown.values())


FAST = {
    "method": "lightcluster",
    "size": 140,
    "classes": 4,
    "refine": "none",
    "backbone": "offline-vits14",
    "jobs": 1,
}


@pytest.mark.usefixtures("backbone")
def test_a_run_brings_them_and_undo_takes_them(dataset, tmp_path):
    from fiftyone_plugin import label_dataset

    dataset.save_view("auto: accept", dataset.limit(1))
    result = label_dataset(dataset, "auto", out=tmp_path / "auto", **FAST)
    names = dict(dataset.get_run_info(run_key("auto")).config.saved_views)
    assert names["review first"] == "auto: review first"
    assert names["accept"] == "auto: accept 2"
    worst = min(result.labelled, key=lambda row: row.quality)
    first = dataset.load_saved_view("auto: review first").first()
    assert first.filepath.endswith(worst.image)
    undo(dataset, run_key("auto"))
    assert dataset.list_saved_views() == ["auto: accept"]


def test_a_clone_of_the_dataset_can_be_undone(scored):
    create_views(scored, run_key("m"))
    clone = scored.clone()
    delete_views(clone, run_key("m"))
    assert clone.list_saved_views() == []
    assert len(scored.list_saved_views()) == 3
    clone.delete()


def test_rare_classes_follow_names(dataset, fill):
    from fiftyone_plugin.dataset.editing.names import class_names, rename_classes, restore_names

    fill("auto")
    counts = dataset.count_values("auto_classes")
    rare = min(counts, key=lambda name: (counts[name], name))
    assert len(set(counts.values())) > 1
    dataset.update_saved_view_info("auto: rare classes", {"name": "odd ones"})
    before = dataset.load_saved_view("odd ones").values("id")
    names = class_names(dataset, "auto")
    id_ = next(k for k, name in names.items() if name == rare)
    rename_classes(dataset, "auto", {id_: "boat"})
    after = dataset.load_saved_view("odd ones")
    assert after.values("id") == before
    assert any("boat" in found for found in after.values("auto_classes"))
    rename_classes(dataset, "auto", dict.fromkeys(names, "everything"))
    assert "odd ones" not in dataset.list_saved_views()
    restore_names(dataset, "auto")
    assert dataset.list_saved_views() == ["auto: review first", "auto: accept"]
