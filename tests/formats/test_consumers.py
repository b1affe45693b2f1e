"""Exports as the programs see them that they are written for."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import ndimage

from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.coco import coco_annotations, id_to_rgb, panoptic_segments, rgb_to_id
from fiftyone_plugin.formats.voc import voc_image, voc_palette
from fiftyone_plugin.formats.yolo import yolo_lines
from fiftyone_plugin.masks.segments import find_segments

from ..masks.strategies import masks
from ..masks.test_polygons import rasterise
from .conftest import NAMES


def stem(name):
    return name.rsplit(".", 1)[0]


def draw(coco, image, to_class):
    """Draw the annotations of an image with annToMask; no pixel may be drawn twice."""
    canvas = np.zeros((image["height"], image["width"]), np.uint8)
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])):
        shape = coco.annToMask(annotation).astype(bool)
        assert not canvas[shape].any()
        canvas[shape] = to_class[annotation["category_id"]]
    return canvas


@pytest.mark.parametrize("options", [{}, {"polygons": True}, {"connectivity": 8}, {"format": "coco-stuff"}])
def test_pycocotools_reads_every_pixel(levels, originals, tmp_path, options):
    result = export(levels, out=tmp_path / "out", **options)
    kind = "stuff" if "format" in options else "instances"
    coco = COCO(str(tmp_path / "out" / "annotations" / f"{kind}.json"))
    assert sorted(coco.imgs) == list(range(1, 8))
    assert sorted(coco.anns) == list(range(1, result.annotations + 1))
    assert [(c["id"], c["name"]) for c in coco.loadCats(coco.getCatIds())] == list(
        enumerate(NAMES.values(), 1)
    )
    to_class = dict(enumerate(map(int, NAMES), 1))
    for image in coco.imgs.values():
        assert np.array_equal(draw(coco, image, to_class), originals[stem(image["file_name"])])
        assert (tmp_path / "out" / "images" / image["file_name"]).is_file()
    for annotation in coco.anns.values():
        rle = coco.annToRLE(annotation)
        assert annotation["area"] == coco_mask.area(rle)
        assert annotation["bbox"] == coco_mask.toBbox(rle).tolist()
        assert annotation["iscrowd"] == 0
        parts = ndimage.label(coco.annToMask(annotation), np.ones((3, 3)))[1]
        assert parts == 1 or kind == "stuff"


def test_results_load_and_score_one_against_the_same_masks(levels, tmp_path, capsys):
    export(levels, out=tmp_path / "truth")
    truth_file = tmp_path / "truth" / "annotations" / "instances.json"
    export(levels, out=tmp_path / "results", format="coco-results", like=str(truth_file))
    truth = COCO(str(truth_file))
    # the file that they are meant for has ids of its own
    document = json.loads(truth_file.read_text())
    assert not (tmp_path / "results" / "annotations").exists()
    results = truth.loadRes(str(tmp_path / "results" / "results.json"))
    evaluation = COCOeval(truth, results, "segm")
    # 100 is the default: a photograph has more components
    evaluation.params.maxDets = [1, 10, 10_000]
    evaluation.evaluate()
    evaluation.accumulate()
    assert evaluation.eval["precision"][:, :, :, 0, -1].min() == 1
    assert len(results.anns) == len(document["annotations"])
    capsys.readouterr()


def test_results_take_ids_from_the_file_they_are_for(small, tmp_path):
    mask = np.array([[1, 1, 2]], np.uint8)
    root = small({"a": mask, "b": mask, "c": mask}, {1: "sky", 2: "sea"})
    like = {
        "images": [{"id": 70, "file_name": "b.jpg"}, {"id": 30, "file_name": "a.jpg"}],
        "categories": [{"id": 9, "name": "sea"}, {"id": 4, "name": "sky"}],
    }
    (tmp_path / "like.json").write_text(json.dumps(like))
    result = export(root, out=tmp_path / "o", format="coco-results", like=str(tmp_path / "like.json"))
    entries = json.loads((tmp_path / "o" / "results.json").read_text())
    assert [(e["image_id"], e["category_id"], e["score"]) for e in entries] == [
        (30, 4, 1.0), (30, 9, 1.0), (70, 4, 1.0), (70, 9, 1.0),
    ]  # fmt: skip
    (left_out,) = result.failed
    assert left_out.key == "c.jpg"


def test_results_of_their_own_come_with_the_ids_of_images(levels, tmp_path):
    export(levels, out=tmp_path / "o", format="coco-results")
    info = COCO(str(tmp_path / "o" / "annotations" / "image_info.json"))
    entries = json.loads((tmp_path / "o" / "results.json").read_text())
    assert {e["image_id"] for e in entries} == set(info.imgs)


def test_torchvision_reads_it(levels, originals, tmp_path):
    from torchvision.datasets import CocoDetection

    for images in ("copy", "symlink", "reference"):
        out = tmp_path / images
        export(levels, out=out, images=images)
        found = CocoDetection(str(out / "images"), str(out / "annotations" / "instances.json"))
        assert len(found) == len(originals)
        for (image, target), mask in zip(found, originals.values(), strict=True):
            assert image.size == mask.shape[::-1]
            assert sum(entry["area"] for entry in target) == (mask > 0).sum()


# --- panoptic --------------------------------------------------------------------------------------


@given(masks())
def test_panoptic_ids_areas_and_boxes_agree_with_the_png(mask):
    colours, info = panoptic_segments(find_segments(mask, whole=[1]))
    ids = rgb_to_id(colours)
    assert np.array_equal(ids > 0, mask > 0)
    assert sorted(np.unique(ids[ids > 0])) == [entry["id"] for entry in info]
    for entry in info:
        assert np.unique(mask[ids == entry["id"]]).tolist() == [entry["category_id"]]
        rle = coco_mask.encode(np.asfortranarray(ids == entry["id"]))
        assert (entry["area"], entry["bbox"]) == (coco_mask.area(rle), coco_mask.toBbox(rle).tolist())
    assert sum(entry["category_id"] == 1 for entry in info) == (mask == 1).any()


@given(st.lists(st.integers(0, 256**3 - 1), min_size=1, max_size=20))
def test_colours_of_ids(ids):
    values = np.array([ids])
    colours = id_to_rgb(values)
    assert (colours.astype(int) @ [1, 256, 65536]).tolist() == [ids]
    assert np.array_equal(rgb_to_id(colours), values)


def test_panoptic_quality_against_itself_is_one(levels, originals, tmp_path):
    import torch
    from torchmetrics.detection import PanopticQuality

    out = tmp_path / "o"
    export(levels, out=out, format="coco-panoptic", stuff=["night", 9])
    document = json.loads((out / "annotations" / "panoptic.json").read_text())
    things = {c["id"] for c in document["categories"] if c["isthing"]}
    stuff = {c["id"] for c in document["categories"]} - things
    assert (things, stuff) == ({2, 3}, {1, 4})
    metric = PanopticQuality(things=things, stuffs=stuff | {0})
    images = {image["id"]: image for image in document["images"]}
    for annotation in document["annotations"]:
        assert stem(images[annotation["image_id"]]["file_name"]) == stem(annotation["file_name"])
        with Image.open(out / "annotations" / "panoptic" / annotation["file_name"]) as png:
            assert png.mode == "RGB"
            ids = rgb_to_id(np.asarray(png))
        category = np.zeros(int(ids.max()) + 1, int)
        for entry in annotation["segments_info"]:
            category[entry["id"]] = entry["category_id"]
        # the source's classes, and the export's segments, as truth
        truth = np.stack([category_of(originals[stem(annotation["file_name"])]), ids], -1)
        found = np.stack([category[ids], ids], -1)
        metric.update(
            torch.from_numpy(found.astype(np.int64))[None], torch.from_numpy(truth.astype(np.int64))[None]
        )
    assert metric.compute() == 1


def category_of(mask):
    table = np.zeros(256, int)
    table[list(map(int, NAMES))] = range(1, len(NAMES) + 1)
    return table[mask]


# --- VOC, masks, YOLO ------------------------------------------------------------------------------


def test_voc_palette_is_that_of_the_development_kit():
    def bit(value, index):
        return value >> index & 1

    expected = []  # VOClabelcolormap, loop by loop
    for i in range(256):
        r = g = b = 0
        value = i
        for j in range(8):
            r |= bit(value, 0) << (7 - j)
            g |= bit(value, 1) << (7 - j)
            b |= bit(value, 2) << (7 - j)
            value >>= 3
        expected.append([r, g, b])
    assert voc_palette().tolist() == expected
    assert expected[1] == [128, 0, 0]
    assert expected[255] == [224, 224, 192]


def test_voc_opens_indexed_and_in_torchvision(levels, originals, tmp_path):
    out = tmp_path / "VOCdevkit" / "VOC2012"
    export(levels, out=out, format="voc", splits=["train", "val"])
    found = {}
    for split in ("train", "val"):
        for line in (out / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split():
            with Image.open(out / "SegmentationClass" / f"{line}.png") as png:
                assert png.mode == "P"
                assert np.array_equal(np.array(png.getpalette()).reshape(-1, 3), voc_palette())
                found[line] = np.asarray(png)
            assert list((out / "JPEGImages").glob(f"{line}.*"))
    assert found.keys() == originals.keys()
    for name, mask in originals.items():
        assert np.array_equal(found[name], category_of(mask))
    rows = (out / "labelmap.txt").read_text().splitlines()[1:]
    assert rows[:2] == ["background:0,0,0::", "night:128,0,0::"]


@given(masks(), st.integers(0, 3))
def test_voc_border_is_what_is_near_another_id(mask, border):
    indices = np.asarray(voc_image(mask, border=border))
    height, width = mask.shape
    for y in range(height):
        for x in range(width):
            near = mask[max(0, y - border) : y + border + 1, max(0, x - border) : x + border + 1]
            assert indices[y, x] == (255 if len(np.unique(near)) > 1 else mask[y, x])


def test_voc_void_for_unlabelled_pixels():
    labels = np.array([[0, 1]], np.uint16)
    assert np.asarray(voc_image(labels, void=labels == 0)).tolist() == [[255, 1]]


@given(masks())
def test_yolo_polygons_give_the_mask_back(mask):
    height, width = mask.shape
    again = np.zeros_like(mask)
    for line in yolo_lines(find_segments(mask)):
        label, *values = line.split()
        points = np.array(values, float).reshape(-1, 2)
        assert 0 <= points.min() <= points.max() <= 1
        # six digits: whole pixels again
        again[rasterise([(points * (width, height)).round(3)], mask.shape)] = int(label) + 1
    assert np.array_equal(again, mask)


def test_yolo_folder(levels, originals, tmp_path):
    import yaml

    out = tmp_path / "o"
    result = export(levels, out=out, format="yolo", splits=["train", "val"])
    document = yaml.safe_load((out / "data.yaml").read_text())
    assert document["names"] == dict(enumerate(NAMES.values()))
    lines = 0
    for split in ("train", "val"):
        images = {
            p.relative_to(out / document[split]).with_suffix("") for p in (out / document[split]).rglob("*.*")
        }
        labels = {
            p.relative_to(out / "labels" / split).with_suffix("")
            for p in (out / "labels" / split).rglob("*.txt")
        }
        assert images == labels
        assert images
        lines += sum(len(p.read_text().splitlines()) for p in (out / "labels" / split).rglob("*.txt"))
    assert lines == result.annotations


# --- converters ------------------------------------------------------------------------------------


@given(masks(), st.booleans())
def test_annotations_are_json_and_carry_attributes(mask, polygons):
    entries = coco_annotations(find_segments(mask), polygons=polygons, attributes={"quality": 0.5})
    assert json.loads(json.dumps(entries)) == entries
    assert all(entry["quality"] == 0.5 for entry in entries)
    assert sum(entry["area"] for entry in entries) == (mask > 0).sum()
