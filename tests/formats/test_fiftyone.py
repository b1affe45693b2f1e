"""Datasets and views as sources, FiftyOne's own export and importers."""

from __future__ import annotations

import json
import uuid

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.registry import formats

from .conftest import NAMES, read_folder
from .run_helpers import PAIR, TWO


def load(path):
    return json.loads(path.read_text())


def test_a_view_is_exported_like_the_folder_with_the_same_masks(view, levels, tmp_path):
    export(view, "masks", out=tmp_path / "view", images="symlink")
    export(levels, out=tmp_path / "folder", images="symlink")
    ours, theirs = (load(tmp_path / n / "annotations" / "instances.json") for n in ("view", "folder"))
    assert [c["supercategory"] for c in ours["categories"]] == ["dark", "dusk", "dawn", "day"]
    for image in ours["images"]:
        image.pop("quality")
    for annotation in ours["annotations"]:
        annotation.pop("quality")
    assert ours["images"] == theirs["images"]
    assert ours["annotations"] == theirs["annotations"]


def test_qualities_and_splits_of_a_view(view, tmp_path):
    result = export(
        view, out=tmp_path / "o", splits=["train", "val"], min_quality=0.15, format="coco-results"
    )
    assert len(result.skipped) == 2
    results = [e for s in ("train", "val") for e in load(tmp_path / "o" / f"results_{s}.json")]
    assert {round(e["score"], 6) for e in results} == {0.2, 0.3, 0.4, 0.5, 0.6}
    assert result.splits == {"train": 2, "val": 3}


def test_a_view_of_some_samples_without_masks_or_twice(fo, view, tmp_path):
    first, second = view.first(), view.skip(1).first()
    first["masks"] = None
    first.save()
    view.add_sample(
        fo.Sample(filepath=second.filepath, masks=fo.Segmentation(mask=np.ones((2, 2), np.uint8)))
    )
    result = export(view, "masks", out=tmp_path / "o", format="masks")
    assert result.images == 6
    assert sorted(entry.reason for entry in result.failed) == [
        "another sample of the same file is exported",
        "no mask",
    ]
    empty = view.last()
    empty["masks"] = fo.Segmentation()
    empty.filepath = str(tmp_path / "other.jpg")
    Image.new("L", (2, 2)).save(empty.filepath)
    empty.save()
    result = export(view.select(empty.id).concat(view.select(second.id)), out=tmp_path / "p", format="masks")
    assert [entry.key.split("/")[-1] for entry in result.failed] == ["other.jpg"]


def test_colour_masks_are_classes_by_their_colour(fo, small, tmp_path):
    root = small({"a": np.zeros((2, 2), np.uint8)})
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0], colours[1, 1] = (255, 109, 4), (0, 0, 2)
    Image.fromarray(colours).save(tmp_path / "c.png")
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    dataset.add_sample(
        fo.Sample(
            filepath=str(root / "images" / "a.jpg"), seg=fo.Segmentation(mask_path=str(tmp_path / "c.png"))
        )
    )
    dataset.mask_targets = {"seg": {"#ff6d04": "sky", "#000002": "sea"}}
    dataset.save()
    try:
        result = export(dataset, out=tmp_path / "o", format="masks")
    finally:
        fo.delete_dataset(dataset.name)
    assert result.categories == {1: "sea", 2: "sky"}
    assert read_folder(tmp_path / "o" / "masks")["a"].tolist() == [[2, 0], [0, 1]]
    assert load(tmp_path / "o" / "classes.json") == {"1": "sea", "2": "sky"}


def test_palette_and_one_bit_masks_and_masks_in_the_database(fo, small, tmp_path):
    """What FiftyOne's App shows is exported: palettes by their colours, and the database before the disk."""
    root = small({"a": PAIR}, TWO)
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    palette = Image.fromarray(PAIR)
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(PAIR > 1).save(tmp_path / "bit.png")
    sample = fo.Sample(filepath=str(root / "images" / "a.jpg"))
    sample["palette"] = fo.Segmentation(mask_path=str(tmp_path / "palette.png"))
    sample["bit"] = fo.Segmentation(mask_path=str(tmp_path / "bit.png"))
    sample["edited"] = fo.Segmentation(mask_path=str(tmp_path / "bit.png"), mask=PAIR)
    dataset.add_sample(sample)
    dataset.mask_targets = {
        "palette": {"#800000": "one", "#008000": "two"},
        "bit": {0: "rest", 1: "object"},
        "edited": {1: "one", 2: "two"},
    }
    try:
        # colours become categories in the order of their numbers: #008000, #800000
        turned = np.array([0, 2, 1], np.uint8)[PAIR]
        expected = {"palette": turned, "bit": (PAIR > 1).astype(np.uint8), "edited": PAIR}
        for field, mask in expected.items():
            result = export(dataset, field, out=tmp_path / field, format="masks")
            assert (result.images, result.skipped) == (1, [])
            written = np.asarray(Image.open(tmp_path / field / "masks" / "a.png"))
            np.testing.assert_array_equal(written, mask)
    finally:
        dataset.delete()


def test_instances_of_another_field(fo, view, tmp_path):
    for sample in view.iter_samples(autosave=True):
        mask = sample.masks.get_mask()
        halves = np.ones_like(mask)
        halves[mask.shape[0] // 2 :] = 2
        sample["instances"] = fo.Segmentation(mask=halves)
    export(view, "masks", out=tmp_path / "o", instances_field="instances")
    annotations = load(tmp_path / "o" / "annotations" / "instances.json")["annotations"]
    keys = {(a["image_id"], a["category_id"], a["instance"]) for a in annotations}
    assert len(keys) == len(annotations) <= 7 * 4 * 2


def test_fields_that_cannot_be_exported(view, dataset, tmp_path):
    with pytest.raises(UsageError, match="no segmentation field; there are: masks"):
        export(view, "mask", out=tmp_path / "o")
    with pytest.raises(UsageError, match="no field 'q' for the quality"):
        export(view, out=tmp_path / "o", quality_field="q")
    with pytest.raises(UsageError, match="segmentation fields here: none"):
        export(dataset, out=tmp_path / "o")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_a_dataset_that_lives_in_an_export_is_not_replaced(fo, view, tmp_path, mode):
    export(view, "masks", out=tmp_path / "o", format="masks")
    inside = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    for path in sorted((tmp_path / "o" / "images").rglob("*.*")):
        mask = next((tmp_path / "o" / "masks").rglob(f"{path.stem}.png"))
        inside.add_sample(fo.Sample(filepath=str(path), masks=fo.Segmentation(mask_path=str(mask))))
    try:
        with pytest.raises(UsageError, match="holds what is to be exported"):
            export(inside, out=tmp_path / "o", overwrite=True, images=mode)
    finally:
        fo.delete_dataset(inside.name)
    assert len(list((tmp_path / "o" / "images").rglob("*.*"))) == 7


# --- FiftyOne's own export and importers -----------------------------------------------------------


def test_exporter_classes_work_in_view_export(view, tmp_path):
    from fiftyone_plugin.formats import CocoPanopticExporter, SegmentationExporter, VocExporter

    calls = []
    view.export(
        dataset_exporter=VocExporter(tmp_path / "voc", images="symlink"), label_field="masks",
        progress=lambda bar: calls.append(bar.progress),
    )  # fmt: skip
    assert calls
    assert len(list((tmp_path / "voc" / "SegmentationClass").rglob("*.png"))) == 7
    exporter = CocoPanopticExporter(tmp_path / "panoptic", "masks", stuff=["night"])
    view.match_tags("val").export(dataset_exporter=exporter)
    assert exporter.result.images == 3
    for name in formats():
        exporter = SegmentationExporter(tmp_path / "all" / name, "masks", name, images="symlink")
        view.limit(1).export(dataset_exporter=exporter)
        assert exporter.result.format == name


def test_exporter_classes_stand_for_the_formats():
    import fiftyone_plugin.formats as package

    classes = [getattr(package, name) for name in package.__all__ if name.endswith("Exporter")]
    assert {cls.default_format for cls in classes} == set(formats())


@pytest.mark.parametrize("polygons", [False, True])
def test_fiftyones_coco_importer_reads_it(fo, view, originals, tmp_path, polygons):
    export(view, "masks", out=tmp_path / "o", polygons=polygons)
    again = fo.Dataset.from_dir(
        dataset_type=fo.types.COCODetectionDataset,
        data_path=str(tmp_path / "o" / "images"),
        labels_path=str(tmp_path / "o" / "annotations" / "instances.json"),
        label_types="segmentations",
        label_field="objects",
        name=f"test-{uuid.uuid4().hex[:12]}",
    )
    try:
        ids = {name: int(i) for i, name in NAMES.items()}
        assert len(again) == 7
        for sample in again:
            (mask,) = [m for stem, m in originals.items() if sample.filepath.rsplit(".", 1)[0].endswith(stem)]
            height, width = mask.shape
            canvas = np.zeros_like(mask)
            for detection in sample.objects.detections:
                x, y, w, h = (
                    np.multiply(detection.bounding_box, [width, height, width, height]).round().astype(int)
                )
                assert detection.mask.shape == (h, w)
                canvas[y : y + h, x : x + w][detection.mask > 0] = ids[detection.label]
            assert np.array_equal(canvas, mask)
    finally:
        fo.delete_dataset(again.name)


def test_qualities_that_are_none(fo, folders, tmp_path, caplog):
    dataset = folders("a.jpg", "b.jpg", "c.jpg")
    dataset.set_values("gt", [fo.Segmentation(mask=np.ones((8, 8), np.uint8)) for _ in range(3)])
    dataset.set_values("q", [0.5, float("nan"), float("inf")])
    dataset.set_values("out", [1.7, -3.0, None])
    dataset.set_values("text", ["good", "bad", None])
    result = export(dataset, "gt", out=tmp_path / "o", quality_field="q", min_quality=0.4)
    assert [(entry.key, entry.reason) for entry in result.skipped] == [
        ("b.jpg", "quality unknown"),
        ("c.jpg", "quality unknown"),
    ]
    assert "2 of 3 values of 'q' are not within 0..1" in caplog.text
    assert load(tmp_path / "o" / "export.json")["provenance"]["qualities_unknown"] == 2
    for field, reason in (("out", "no value is within 0..1"), ("text", "it holds no numbers")):
        with pytest.raises(UsageError, match=reason):
            export(dataset, "gt", out=tmp_path / "p", quality_field=field)
