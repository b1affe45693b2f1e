"""Teaching in the real App: what to label next, a run that learns from labels, what changed; accepting."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from fiftyone_plugin.dataset.comparison import list_comparisons

from .driving import (
    choose,
    click,
    close,
    execute,
    open_form,
    open_more,
    open_pseudomasks,
    picture,
    settle,
)

FAST = {"size": 224, "classes": 8, "refine": "none", "backbone": "offline-vits14", "jobs": 1}


@pytest.fixture
def labelled(fo, dataset, backbone, tmp_path):
    """The photographs with clusters, and a person's masks of two of them: what is there, and what is not."""
    from fiftyone_plugin import label_dataset

    label_dataset(dataset, "auto", out=tmp_path / "auto", **FAST)
    for sample in dataset.limit(2).iter_samples(autosave=True):
        mask = sample.auto.get_mask()
        largest = np.bincount(mask.ravel()).argmax()
        sample["mine"] = fo.Segmentation(mask=np.where(mask == largest, 2, 1).astype(np.uint8))
    dataset.mask_targets = {**dataset.mask_targets, "mine": {1: "person", 2: "surroundings"}}
    dataset.save()
    return dataset


def test_suggest_and_teach(labelled, page):
    panel = open_pseudomasks(page, labelled)
    suggest = open_more(page, panel, panel.get_by_role("button", name="What to label next"))
    form = open_form(page, suggest, "Labels so far")
    choose(page, form.get_by_role("combobox").last, "mine", sent='"labels":"mine"')
    picture(page, "teach_suggest_form")
    execute(page, "auto: label next", "Suggest")
    picture(page, "teach_suggest_output")
    close(page)
    labelled.reload()
    chosen = labelled.load_saved_view("auto: label next").values("id")
    assert set(chosen) == set(labelled.values("id")) - set(labelled.exists("mine").values("id"))

    panel = open_pseudomasks(page, labelled)
    teach = open_more(page, panel, panel.get_by_role("button", name="Teach with labels"))
    form = open_form(page, teach, "Learn from labels")
    box = form.get_by_role("combobox").filter(has_text="none").first
    choose(page, box, "mine", sent='"labels":"mine"')
    form.get_by_text("the run in auto").wait_for()
    picture(page, "teach_form")
    execute(page, "auto_taught")
    panel.get_by_role("cell", name="surroundings").wait_for()  # no window is left to close
    labelled.reload()
    assert dict(labelled.mask_targets["auto_taught"]) == {1: "person", 2: "surroundings"}
    assert len(labelled.exists("auto_taught")) == 7
    assert len(labelled.exists("mine")) == 2


def test_what_teaching_has_changed(labelled, page, tmp_path):
    from fiftyone_plugin import label_dataset

    learnt = {name: value for name, value in FAST.items() if name != "classes"}
    label_dataset(labelled, "auto_taught", labels="mine", out=tmp_path / "taught", **learnt)
    panel = open_pseudomasks(page, labelled)
    panel.get_by_role("cell", name="surroundings").wait_for()
    open_form(page, panel.get_by_role("button", name="Compare", exact=True), "Second run")
    execute(page, "Two runs compared.")
    panel.get_by_text("Classes that agree least").scroll_into_view_if_needed()
    picture(page, "teach_changed")
    labelled.reload()
    (stored,) = list_comparisons(labelled)
    assert {stored.a, stored.b} == {"auto", "auto_taught"}


def test_masks_are_accepted_by_their_score_and_exported(labelled, page, tmp_path):
    panel = open_pseudomasks(page, labelled)
    scores = sorted(labelled.values("auto_quality"))
    slider = panel.locator("input[type=range]").first
    slider.scroll_into_view_if_needed()
    middle = (scores[0] + scores[-1]) / 2
    kept = sum(score >= middle for score in scores)
    panel.get_by_text(f"{kept} of 7 images are kept").wait_for()
    picture(page, "accept_before")
    slider.focus()
    page.keyboard.press("Home")
    panel.get_by_text("7 of 7 images are kept").wait_for()
    settle(page)
    slider.focus()
    page.keyboard.press("End")
    panel.get_by_text("1 of 7 images are kept").wait_for()
    export = panel.get_by_role("button", name="Export the accepted")
    click(panel.get_by_role("button", name="Tag accepted / to review"), export)
    picture(page, "accept_tagged")
    labelled.reload()
    assert labelled.count_sample_tags() == {"accepted": 1, "to review": 6}
    open_form(page, export, "Only samples tagged")
    picture(page, "accept_export")
    with page.expect_download() as download:
        execute(page, "Written to")
    close(page)
    download.value.save_as(tmp_path / "labels.zip")
    with zipfile.ZipFile(tmp_path / "labels.zip") as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("instances.json")]
        assert len(json.loads(archive.read(name))["images"]) == 1
    click(panel.get_by_role("button", name="Show the others"), page.get_by_text("6 sample").first)
    click(panel.get_by_role("button", name="Take the tags back"), export, "hidden")
    labelled.reload()
    assert labelled.count_sample_tags() == {}
