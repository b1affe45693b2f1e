"""A few corrections, and all masks of a real run follow them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from fiftyone_plugin import label_dataset
from fiftyone_plugin.dataset import editing
from fiftyone_plugin.errors import UsageError

from .conftest import FAST, State, check_fields, masks


@pytest.fixture
def twins(fo, photos, backbone, tmp_path):
    """Three photographs, each twice: what is corrected in one has an obvious counterpart in the other."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("chelsea", "china", "coffee"):
        for copy in ("a", "b"):
            shutil.copy(photos / f"{name}.jpg", folder / f"{name}_{copy}.jpg")
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in sorted(folder.iterdir())])
    label_dataset(dataset, "auto", out=tmp_path / "auto", **FAST)
    yield dataset
    fo.delete_dataset(dataset.name)


def correct(dataset, sample, label):
    """Give the largest region of an image another class."""
    editing.masks_to_detections(dataset.select(sample.id), "auto", overwrite=True)
    dataset.reload()
    sample = dataset[sample.id]
    region = max(sample.auto_detections.detections, key=lambda d: d.mask.sum())
    region.label = label
    sample.save()
    editing.detections_to_masks(dataset, "auto")
    return region.class_id, int(region.mask.sum())


def refuse_without_corrections(dataset):
    with pytest.raises(UsageError, match="no mask of 'auto' was corrected"):
        editing.propagate_corrections(dataset, "auto")
    editing.masks_to_detections(dataset.limit(1), "auto")
    sample = dataset.first()
    sample.auto_detections.detections = sample.auto_detections.detections[1:]
    sample.save()
    editing.detections_to_masks(dataset, "auto")
    with pytest.raises(UsageError, match="no region has another class"):
        editing.propagate_corrections(dataset, "auto")
    with pytest.raises(UsageError, match="margin"):
        editing.propagate_corrections(dataset, "auto", margin=-1)
    editing.undo_edit(dataset, "auto")


def test_the_twin_of_a_corrected_image_follows(twins):
    refuse_without_corrections(twins)
    before, old = State(twins), masks(twins)
    first = twins.match({"filepath": {"$regex": "chelsea_a"}}).first()
    was, pixels = correct(twins, first, "cat")
    corrected = State(twins)
    done = editing.propagate_corrections(twins, "auto", margin=0.0)
    check_fields(twins)
    twin = twins.match({"filepath": {"$regex": "chelsea_b"}}).first().auto.get_mask()
    assert (twin == 5).sum() >= pixels  # an image like it has a region like it
    assert np.array_equal(twin, twins[first.id].auto.get_mask())
    new = masks(twins)
    summary = done.edit.summary
    others = [i for i, id_ in enumerate(twins.values("id")) if id_ != first.id]
    assert summary["pixels"] == sum((old[i] != new[i]).sum() for i in others)
    assert all(
        (old[i] == was)[old[i] != new[i]].all() for i in others
    )  # nothing but what was corrected moves
    assert [move[:2] for move in summary["moves"]] == [[was, 5]]
    assert summary["regions"] == sum(move[2] for move in summary["moves"])
    editing.undo_edit(twins, "auto")
    assert State(twins) == corrected
    strict = editing.propagate_corrections(twins, "auto", margin=2.0)
    assert strict.changed == 0
    editing.undo_edit(twins, "auto")
    editing.undo_edit(twins, "auto")
    assert State(twins) == before
