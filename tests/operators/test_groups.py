"""Grouped datasets: the slice that has masks is worked on, whichever is active in the App."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def grouped(fo, photos, tmp_path):
    """Three groups; the left slice has two fields of masks, the right one is active."""
    dataset = fo.Dataset()
    dataset.add_group_field("group", default="left")
    paths = sorted(photos.iterdir())
    samples = []
    for i in range(3):
        group = fo.Group()
        for name, path in (("left", paths[i]), ("right", paths[i + 3])):
            sample = fo.Sample(filepath=str(path), group=group.element(name))
            if name == "left":
                with Image.open(path) as image:
                    mask = np.ones(image.size[::-1], np.uint8)
                mask[:, 40:] = 2
                sample["ground_truth"] = fo.Segmentation(mask=mask)
                sample["masks"] = fo.Segmentation(mask=mask)
            samples.append(sample)
    dataset.add_samples(samples)
    dataset.mask_targets = {"ground_truth": {1: "a", 2: "b"}, "masks": {1: "a", 2: "b"}}
    dataset.save()
    dataset.group_slice = "right"
    yield dataset
    fo.delete_dataset(dataset.name)


def test_scores_are_those_of_the_slice_with_masks(grouped, run):
    params = {"pred_field": "masks", "gt_field": "ground_truth", "eval_key": "e"}
    _, summary = run("evaluate_masks", grouped, params, group_slice="right")
    assert "3 images" in summary["report"]


def test_masks_of_the_slice_are_exported(grouped, tmp_path, run):
    out = str(tmp_path / "o")
    params = {"field": "masks", "format": "masks", "out": out, "images": "reference"}
    _, summary = run("export_masks", grouped, params, group_slice="right")
    assert (summary["images"], summary["skipped"]) == (3, 0)
