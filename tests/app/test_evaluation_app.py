"""The evaluation in the real App: the form's one click, and the Model Evaluation panel."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.plugin_install import PLUGIN_NAME

ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
PANEL = "model_evaluation_panel_builtin"


@pytest.fixture
def labelled(fo, photos, tmp_path):
    """The photographs with four brightness levels as truth and slightly wrong clusters, four of five matched."""
    from PIL import Image

    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    rng = np.random.default_rng(0)
    for path in sorted(photos.iterdir()):
        grey = np.asarray(Image.open(path).convert("L")).astype(float)
        true = np.digitize(grey, [64, 128, 192]) + 1
        pred = np.digitize(grey + rng.normal(0, 12, grey.shape), [60, 120, 190, 240]) + 11
        pred[:20] = 0
        sample = fo.Sample(filepath=str(path))
        for field, mask in (("ground_truth", true), ("pseudo_mask", pred)):
            file = tmp_path / f"{path.stem}_{field}.png"
            Image.fromarray(mask.astype(np.uint8)).save(file)
            sample[field] = fo.Segmentation(mask_path=str(file))
        dataset.add_sample(sample)
    dataset.mask_targets = {
        "ground_truth": {1: "night", 2: "dusk", 3: "dawn", 4: "day"},
        "pseudo_mask": {i: f"cluster {i}" for i in range(11, 16)},
    }
    dataset.save()
    yield dataset
    fo.delete_dataset(dataset.name)


def open_panel(page):
    page.locator("[data-cy=new-panel-btn]").first.click()
    page.locator(f"[data-cy=new-panel-option-{PANEL}]").click()
    return page.locator(f"[data-cy=panel-content-{PANEL}]")


def test_an_evaluation_opens_in_the_model_evaluation_panel(labelled, page):
    from fiftyone_plugin import evaluate

    results = evaluate(labelled, "pseudo_mask", "ground_truth", "eval_pseudo_mask")
    page.goto(f"/datasets/{labelled.name}")
    page.locator("[data-cy=looker]").first.wait_for()
    panel = open_panel(page)
    panel.get_by_text("eval_pseudo_mask").first.click()
    panel.get_by_text("mIoU").first.wait_for()
    page.wait_for_timeout(2000)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "evaluation_panel.png")
    text = panel.inner_text()
    assert "Adjusted Rand index" in text
    assert results.evaluation.scores["miou"] > 0.5
