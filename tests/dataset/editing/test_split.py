"""Splitting a class of a real run, with the real backbone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fiftyone_plugin.dataset import editing
from fiftyone_plugin.dataset.editing.names import class_names
from fiftyone_plugin.errors import UsageError

from .conftest import State, check_fields, masks


def largest_class(dataset):
    areas = dataset.get_run_info("pseudomask_auto").config.areas
    return int(max(areas, key=lambda id_: areas[id_]))


def test_a_class_is_split_by_regions_and_undo_gives_it_back(labelled):
    before, old = State(labelled), masks(labelled)
    class_id = largest_class(labelled)
    done = editing.split_class(labelled, "auto", class_id, n_parts=3)
    new = masks(labelled)
    ids = done.edit.summary["ids"]
    assert ids == [class_id, 5, 6]
    names = class_names(labelled, "auto")
    assert [names[id_] for id_ in ids] == [f"class {class_id} {letter}" for letter in "abc"]
    area, regions = dict.fromkeys(ids, 0.0), dict.fromkeys(ids, 0)
    for mask, split in zip(old, new, strict=True):
        assert np.array_equal(np.where(np.isin(split, ids), class_id, split), mask)
        parts, n = ndimage.label(mask == class_id, structure=np.ones((3, 3)))
        for part in range(1, n + 1):
            (id_,) = np.unique(split[parts == part])  # a region stays whole
            regions[int(id_)] += 1
            area[int(id_)] += (parts == part).mean()
    assert done.edit.summary["regions"] == {str(id_): n for id_, n in regions.items()}
    assert min(regions.values()) > 0
    assert max(area, key=lambda id_: area[id_]) == class_id
    assert done.changed == sum(not np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    check_fields(labelled)
    first = State(labelled)
    editing.undo_edit(labelled, "auto")
    assert State(labelled) == before
    editing.split_class(labelled, "auto", class_id, n_parts=3)
    assert State(labelled).masks == first.masks  # the same seed, the same masks


def test_an_image_that_is_gone_keeps_its_mask(labelled, tmp_path):
    class_id = largest_class(labelled)
    sample = labelled.match({"auto_classes": f"class {class_id}"}).first()
    old = sample.auto.get_mask()
    sample.filepath = str(tmp_path / "gone.jpg")
    sample.save()
    done = editing.split_class(labelled, "auto", class_id)
    assert done.edit.summary["images_not_read"] == 1
    labelled.reload()
    assert np.array_equal(labelled[sample.id].auto.get_mask(), old)
    assert f"class {class_id} a" in labelled[sample.id].auto_classes


def test_a_class_of_one_region_cannot_be_split(labelled):
    class_id = largest_class(labelled)
    for sample in labelled[1:]:
        sample["auto"] = None
        sample.save()
    sample = labelled.first()
    mask = np.zeros_like(sample.auto.get_mask())
    mask[:50, :50] = class_id
    from pathlib import Path

    from fiftyone_plugin.masks.files import write_mask

    write_mask(Path(sample.auto.mask_path), mask)
    sample["auto_classes"] = [f"class {class_id}"]
    sample.save()
    before = State(labelled)
    with pytest.raises(UsageError, match="only one region"):
        editing.split_class(labelled, "auto", class_id)
    assert State(labelled) == before


def test_a_model_that_is_gone_says_so(labelled, tmp_path):
    with pytest.raises(UsageError, match="no weights file"):
        editing.split_class(labelled, "auto", 1, backbone=str(tmp_path / "none.safetensors"))
    (tmp_path / "auto" / "model" / "method.json").unlink()
    with pytest.raises(UsageError, match="no fitted method"):
        editing.split_class(labelled, "auto", 1)
