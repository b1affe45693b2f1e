"""Labels of samples as masks to learn from, and a dataset that is labelled by them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin.dataset.given_labels import labels_of_view
from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import list_view
from fiftyone_plugin.masks.files import write_mask

SIZE = (48, 64)
IGNORE = (0, 255)


@pytest.fixture
def few(fo, tmp_path):
    """Four images of a light and a dark half."""
    dataset = fo.Dataset()
    for number in range(4):
        path = tmp_path / "images" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.full((*SIZE, 3), 40, np.uint8)
        pixels[:, : 20 + 4 * number] = (60, 180, 220)
        Image.fromarray(pixels).save(path)
        dataset.add_sample(fo.Sample(filepath=str(path)))
    yield dataset
    fo.delete_dataset(dataset.name)


def truth(number: int) -> np.ndarray:
    mask = np.full(SIZE, 2, np.uint8)
    mask[:, : 20 + 4 * number] = 5
    return mask


def give_masks(fo, dataset, tmp_path) -> None:
    """One in the database, one on disk, one that does not fit."""
    first, second, third, _ = dataset
    write_mask(tmp_path / "truth" / "b.png", truth(1))
    first["truth"] = fo.Segmentation(mask=truth(0))
    second["truth"] = fo.Segmentation(mask_path=str(tmp_path / "truth" / "b.png"))
    third["truth"] = fo.Segmentation(mask=truth(2)[:9])
    for sample in (first, second, third):
        sample.save()
    dataset.mask_targets = {"truth": {2: "dark", 5: "light"}}
    dataset.save()


def read(dataset, field):
    return labels_of_view(dataset, list_view(dataset), field, ignore=IGNORE)


def test_masks_of_both_kinds_with_the_names_of_the_field(fo, few, tmp_path):
    give_masks(fo, few, tmp_path)
    found = read(few, "truth")
    assert found.names == {2: "dark", 5: "light"}
    assert sorted(found.masks) == ["0.png", "1.png"]
    assert all(np.array_equal(found.mask(f"{i}.png"), truth(i)) for i in (0, 1))
    assert [one.key for one in found.skipped] == ["2.png"]
    assert list(read(few[:1], "truth").masks) == ["0.png"]


def test_detections_and_polylines_are_partial_labels(fo, few):
    box = fo.Detection(label="cup", bounding_box=[0.25, 0.5, 0.25, 0.25], mask=np.ones((12, 16), bool))
    no_mask = fo.Detection(label="cup", bounding_box=[0, 0, 1, 1])
    square = [(0.5, 0), (1, 0), (1, 0.5), (0.5, 0.5)]
    shapes = [
        fo.Polyline(label="table", points=[square], closed=True, filled=True),
        fo.Polyline(label="edge", points=[[(0, 0.25), (0.25, 0.25)]]),
    ]
    sample = few.first()
    sample["boxes"] = fo.Detections(detections=[no_mask, box])
    sample["lines"] = fo.Polylines(polylines=shapes)
    sample.save()
    with pytest.raises(UsageError, match="show one class"):
        read(few, "boxes")
    lines = read(few, "lines")
    assert lines.names == {1: "edge", 2: "table"}
    mask = lines.mask("0.png")
    assert (mask[2:22, 34:62] == 2).all()
    assert (mask[30:] == 0).all()
    assert (mask[12, 1:15] == 1).all()
    box.label, no_mask.label = "cup", "table"
    sample["boxes"].detections.append(
        fo.Detection(label="plate", bounding_box=[0.5, 0.5, 0.25, 0.25], mask=np.ones((12, 16), bool))
    )
    sample.save()
    mask = read(few, "boxes").mask("0.png")
    assert (mask[24:36, 16:32] == 1).all()
    assert (mask > 0).sum() == 2 * 12 * 16  # a box without a mask says nothing of its pixels


def test_what_holds_no_labels_is_refused(fo, few, tmp_path):
    give_masks(fo, few, tmp_path)
    with pytest.raises(UsageError, match="has no field 'nothing', and there is no such folder"):
        read(few, "nothing")
    with pytest.raises(UsageError, match="'filepath' holds"):
        read(few, "filepath")
    with pytest.raises(UsageError, match="no sample of the view has labels"):
        read(few[3:], "truth")
    with pytest.raises(UsageError, match="write the masks to another field"):
        label_dataset(few, "truth", labels="truth")


def test_a_dataset_is_labelled_by_its_own_labels_and_they_stay(fo, few, tmp_path, tiny_weights):
    give_masks(fo, few, tmp_path)
    settings = {"size": 112, "refine": "none", "backbone": tiny_weights, "jobs": 1, "classes": 4}
    result = label_dataset(few, "auto", out=tmp_path / "run", labels="truth", **settings)
    assert result.class_names == {2: "dark", 5: "light"} == few.mask_targets["auto"]
    right = [(few.skip(i).first().auto.get_mask() == truth(i)).mean() for i in range(4)]
    assert min(right) > 0.8
    assert np.array_equal(few.first().truth.mask, truth(0))
    again = label_dataset(
        few, "more", labels="truth", model=tmp_path / "run" / "model", out=tmp_path / "more"
    )
    assert again.class_names == result.class_names
    undo(few, run_key("auto"))
    assert few.has_sample_field("truth")


def test_a_taught_run_that_was_stopped_goes_on_with_its_labels(fo, few, tmp_path, tiny_weights):
    from fiftyone_plugin.common.progress import CallbackProgress
    from fiftyone_plugin.dataset.resuming import resume_run

    class Enough(Exception):
        pass

    def stop(stage, done, total):
        if (stage, done) == ("masks", 2):
            raise Enough

    give_masks(fo, few, tmp_path)
    settings = {"size": 112, "refine": "none", "backbone": tiny_weights, "jobs": 1, "classes": 4}
    with pytest.raises(Enough):
        label_dataset(few, "auto", labels="truth", **settings, progress=CallbackProgress(stop, 0))
    result = resume_run(few, "auto")
    whole = label_dataset(few, "whole", labels="truth", **settings)
    assert result.class_names == whole.class_names
    assert {"dark", "light"} <= set(result.class_names.values())
    for one, other in zip(result.labelled, whole.labelled, strict=True):
        found, wanted = (
            (each.out / "masks" / row.mask).read_bytes() for each, row in ((result, one), (whole, other))
        )
        assert found == wanted
