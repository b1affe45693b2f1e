"""The way of an export: choices, order, and what lies on the disk afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.base import ExportItem, ExportSource
from fiftyone_plugin.formats.registry import formats
from fiftyone_plugin.images.reading import read_image

from .conftest import read_folder
from .run_helpers import PAIR, TWO, files, load


@pytest.mark.parametrize("name", list(formats()))
def test_bytes_do_not_depend_on_the_number_of_processes(levels, tmp_path, name, monkeypatch):
    from fiftyone_plugin.formats import exporting as run

    monkeypatch.setattr(run, "ALONE", 0)
    monkeypatch.setattr(run, "GROUP", 2)
    alone = export(levels, out=tmp_path / "alone" / "o", format=name, jobs=1)
    together = export(levels, out=tmp_path / "together" / "o", format=name, jobs=2)
    assert files(alone.out) == files(together.out)
    assert (alone.images, alone.annotations) == (together.images, together.annotations)


def test_ids_follow_the_names_whatever_the_disk_says(small, tmp_path):
    root = small(dict.fromkeys(("b", "a/z", "c", "a/y"), PAIR), TWO)
    export(root, out=tmp_path / "o")
    document = load(tmp_path / "o")
    assert [image["file_name"] for image in document["images"]] == ["a/y.jpg", "a/z.jpg", "b.jpg", "c.jpg"]
    assert [image["id"] for image in document["images"]] == [1, 2, 3, 4]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in document["annotations"]] == [
        (2 * i + j + 1, i + 1, j + 1) for i in range(4) for j in range(2)
    ]


# --- choices ---------------------------------------------------------------------------------------


def test_chosen_classes_by_name_or_id_and_ignored_ids(small, tmp_path):
    mask = np.array([[1, 2, 3, 255]], np.uint8)
    root = small({"a": mask}, {1: "sky", 2: "sea", 3: "sand"})
    result = export(root, out=tmp_path / "o", format="masks", classes=["sand", "1"], ignore=[255])
    assert result.categories == {1: "sky", 2: "sand"}
    assert read_folder(tmp_path / "o" / "masks")["a"].tolist() == [[1, 0, 3, 0]]
    assert json.loads((tmp_path / "o" / "classes.json").read_text()) == {"1": "sky", "3": "sand"}
    with pytest.raises(UsageError, match="no class 'grass'; there are: sand, sea, sky"):
        export(root, out=tmp_path / "p", classes=["grass"])


def test_ids_without_a_name_are_a_listed_skip(small, tmp_path):
    root = small({"a": PAIR, "b": PAIR + 6}, TWO)
    result = export(root, out=tmp_path / "o")
    (skipped,) = result.failed
    assert skipped.key == "b.jpg"
    assert "ids without a name: 6, 7, 8" in skipped.reason
    record = json.loads((tmp_path / "o" / "export.json").read_text())
    assert record["skipped"] == [{"image": "b.jpg", "reason": skipped.reason}]


def test_without_class_names_the_ids_that_occur_are_the_classes(small, tmp_path):
    root = small({"a": PAIR, "b": PAIR * 20})
    assert export(root, out=tmp_path / "o").categories == {
        1: "class 1", 2: "class 2", 3: "class 20", 4: "class 40",
    }  # fmt: skip


def test_ids_of_one_name_are_one_category(small, tmp_path):
    root = small({"a": np.array([[1, 2, 3, 0, 1]], np.uint8)}, {1: "sky", 2: "sea", 3: "sky"})
    export(root, out=tmp_path / "o")
    document = load(tmp_path / "o")
    assert [c["name"] for c in document["categories"]] == ["sky", "sea"]
    assert sorted((a["category_id"], a["area"]) for a in document["annotations"]) == [(1, 1)] * 3 + [(2, 1)]


def test_supercategories_come_from_the_class_file_and_the_caller(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    (root / "classes.json").write_text('{"1": {"name": "sky", "supercategory": "air"}, "2": "sea"}')
    export(root, out=tmp_path / "o", supercategories={"sea": "water"}, stuff=["sky"])
    assert [(c["name"], c["supercategory"], c["isthing"]) for c in load(tmp_path / "o")["categories"]] == [
        ("sky", "air", 0),
        ("sea", "water", 1),
    ]
    export(root, out=tmp_path / "m", format="masks")
    assert json.loads((tmp_path / "m" / "classes.json").read_text())["1"]["supercategory"] == "air"


def test_small_components(small, tmp_path):
    mask = np.ones((10, 10), np.uint8)
    mask[4:6, 4:6] = 2
    root = small({"a": mask}, TWO)
    for small_ones, area in (("drop", 96), ("merge", 100)):
        export(root, out=tmp_path / small_ones, min_area=5, small=small_ones)
        assert [a["area"] for a in load(tmp_path / small_ones)["annotations"]] == [area]


def test_given_instances_are_annotations(small, tmp_path):
    mask = np.array([[1, 1, 0, 1, 2]], np.uint8)
    root = small({"a": mask}, TWO)
    (root / "instances").mkdir()
    Image.fromarray(np.array([[1, 2, 0, 2, 0]], np.uint8)).save(root / "instances" / "a.png")
    export(root, out=tmp_path / "o")
    found = [(a["category_id"], a["area"], a.get("instance")) for a in load(tmp_path / "o")["annotations"]]
    assert found == [(1, 1, 1), (1, 2, 2), (2, 1, None)]


def test_touching_objects_are_cut_where_asked(small, tmp_path):
    y, x = np.indices((40, 70))
    mask = np.any([np.hypot(y - 20, x - c) <= 15 for c in (20, 48)], axis=0).astype(np.uint8)
    root = small({"a": mask}, TWO)
    for cut in (False, True):
        out = tmp_path / f"coco-{cut}"
        export(root, out=out, instances=cut)
        found = load(out)["annotations"]
        assert len(found) == 1 + cut
        assert sum(a["area"] for a in found) == mask.sum()
        panoptic = tmp_path / f"panoptic-{cut}"
        export(root, out=panoptic, format="coco-panoptic", instances=cut)
        assert len(load(panoptic, "panoptic")["annotations"][0]["segments_info"]) == 1 + cut
        assert export(root, out=tmp_path / f"yolo-{cut}", format="yolo", instances=cut).annotations == 1 + cut
    (root / "instances").mkdir()
    Image.fromarray(mask).save(root / "instances" / "a.png")  # a person knows better
    export(root, out=tmp_path / "given", instances=True)
    assert len(load(tmp_path / "given")["annotations"]) == 1


def source_of(root: Path, qualities: dict[str, float | None], tags=None) -> ExportSource:
    items = [
        ExportItem(
            f"{name}.jpg", name, str(root / "images" / f"{name}.jpg"), str(root / "masks" / f"{name}.png"),
            None, (tags or {}).get(name, ()), quality,
        )
        for name, quality in qualities.items()
    ]  # fmt: skip
    return ExportSource("test", lambda: iter(items), len(items), TWO)


def test_low_quality_is_dropped_or_marked(small, tmp_path):
    root = small(dict.fromkeys("abc", PAIR), TWO)
    source = source_of(root, {"a": 0.9, "b": 0.2, "c": None})
    result = export(source, out=tmp_path / "drop", min_quality=0.5)
    assert [(s.key, s.reason, s.expected) for s in result.skipped] == [
        ("b.jpg", "quality 0.200", True),
        ("c.jpg", "quality unknown", True),
    ]
    assert result.failed == []
    marking = {"min_quality": 0.5, "low_quality": "mark"}
    assert export(source, out=tmp_path / "mark", **marking).marked == 2
    document = load(tmp_path / "mark")
    for entries, key in ((document["images"], "id"), (document["annotations"], "image_id")):
        assert {(e[key], e.get("quality"), e.get("low_quality")) for e in entries} == {
            (1, 0.9, None), (2, 0.2, True), (3, None, True),
        }  # fmt: skip
    for name in ("masks", "voc", "yolo"):
        export(source, out=tmp_path / name, format=name, **marking)
        assert (tmp_path / name / "low_quality.txt").read_text().split() == ["b", "c"]
    export(source, out=tmp_path / "results", format="coco-results")
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert [e["score"] for e in results[::2]] == [0.9, 0.2, 1.0]


def test_splits_by_tag(small, tmp_path):
    root = small(dict.fromkeys("abcd", PAIR), TWO)
    tags = {"a": ("train", "x"), "b": ("val",), "c": ("val", "train")}
    source = source_of(root, dict.fromkeys("abcd"), tags)
    splits = ("train", "val", "test")
    result = export(source, out=tmp_path / "o", splits=splits)
    assert result.splits == {"train": 1, "val": 1, "test": 0}
    assert [(s.key, s.expected) for s in result.skipped] == [("c.jpg", False), ("d.jpg", True)]
    names = {
        split: [i["file_name"] for i in load(tmp_path / "o", f"instances_{split}")["images"]]
        for split in splits
    }
    assert names == {"train": ["a.jpg"], "val": ["b.jpg"], "test": []}
    for kind in set(formats()) - {"coco-instances"}:
        assert export(source, out=tmp_path / kind, format=kind, splits=splits).splits == result.splits
    assert (tmp_path / "masks" / "splits" / "val.txt").read_text() == "b\n"
    assert (tmp_path / "coco-panoptic" / "annotations" / "panoptic_train" / "a.png").is_file()
    assert json.loads((tmp_path / "coco-results" / "results_test.json").read_text()) == []


def test_folders_are_the_tags_of_a_folder(levels, tmp_path):
    result = export(levels, out=tmp_path / "o", splits=("train", "val"))
    assert result.splits == {"train": 4, "val": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "coco"}, "unknown format 'coco'; known: coco-instances"),
        ({"images": "move"}, "images must be one of"),
        ({"small": "keep"}, "small must be one of"),
        ({"low_quality": "keep"}, "low_quality must be one of"),
        ({"connectivity": 6}, "connectivity must be one of"),
        ({"min_area": -1}, "min_area must be 0 or more"),
        ({"tolerance": float("nan")}, "tolerance must be 0 or more"),
        ({"min_quality": 2}, "min_quality must be within"),
        ({"splits": ["a/b"]}, "cannot be part of a file name"),
        ({"splits": [".."]}, "cannot be part of a file name"),
        ({"splits": ["a", "a"]}, "named twice"),
        ({"classes": "night"}, "list of names or ids"),
        ({"wrong": 1}, "unknown option"),
        ({"field": "x"}, "fields belong to a FiftyOne dataset"),
        ({"format": "yolo", "images": "reference"}, "copy or symlink"),
        ({"format": "coco-results", "like": "/nowhere.json"}, "is not a COCO file"),
    ],
)
def test_impossible_choices_are_refused_before_anything_is_written(levels, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        export(levels, out=tmp_path / "o", **options)
    assert list(tmp_path.iterdir()) == []


def test_more_classes_than_voc_can_hold(small, tmp_path):
    root = small({"a": np.arange(256, dtype=np.uint16).reshape(16, 16)})
    with pytest.raises(UsageError, match="at most 254 classes, there are 255"):
        export(root, out=tmp_path / "o", format="voc")


def test_as_many_classes_as_there_can_be(small, tmp_path):
    mask = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    export(small({"a": mask}), out=tmp_path / "o", format="coco-stuff")
    document = load(tmp_path / "o", "stuff")
    assert [a["category_id"] for a in document["annotations"]] == list(range(1, 65_536))


# --- images ----------------------------------------------------------------------------------------


def test_images_are_copied_linked_or_left(levels, tmp_path):
    originals = {p.name: p for p in (levels / "images").rglob("*.*")}
    for mode in ("copy", "symlink", "reference"):
        export(levels, out=tmp_path / mode, images=mode)
        for image in load(tmp_path / mode)["images"]:
            path = tmp_path / mode / "images" / image["file_name"]
            assert path.read_bytes() == originals[path.name].read_bytes()
            assert path.is_symlink() == (mode == "symlink")
            assert (image["width"], image["height"]) == Image.open(path).size
    assert not (tmp_path / "reference" / "images").exists()


def test_images_stored_turned_are_written_upright(small, tmp_path):
    root = small({"a": np.ones((30, 20), np.uint8)}, TWO)
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    block = rng.integers(0, 255, (4, 6, 3), np.uint8).repeat(5, 0).repeat(5, 1)
    Image.fromarray(block).save(root / "images" / "a.jpg", exif=exif, quality=95)
    upright = read_image(root / "images" / "a.jpg")
    assert export(root, out=tmp_path / "o").failed == []
    with Image.open(tmp_path / "o" / "images" / "a.jpg") as image:
        assert image.size == (20, 30)
        assert 0x0112 not in image.getexif()
        assert np.abs(np.asarray(image).astype(int) - upright).mean() < 6


def test_names_that_differ_in_the_extension_only(small, tmp_path):
    root = small({"a": PAIR, "b": PAIR}, TWO)
    (root / "images" / "b.jpg").rename(root / "images" / "a.jpeg")
    (root / "masks" / "b.png").rename(root / "masks" / "a.jpeg.png")
    # whose mask a.png is nobody can tell
    result = export(root, out=tmp_path / "one")
    assert result.images == 1
    assert [(entry.key, entry.reason) for entry in result.failed] == [
        ("a.jpg", "no mask"),
        ("masks/a", "may be any of 2 images: a.jpeg, a.jpg"),
    ]
    (root / "masks" / "a.png").rename(root / "masks" / "a.jpg.png")
    for kind in formats():
        assert export(root, out=tmp_path / kind, format=kind).images == 2
    assert {i["file_name"] for i in load(tmp_path / "coco-instances")["images"]} == {
        "a.jpg.jpg", "a.jpeg.jpeg",
    }  # fmt: skip
    names = (tmp_path / "voc" / "ImageSets" / "Segmentation" / "trainval.txt").read_text().split()
    assert all(len(list((tmp_path / "voc" / "JPEGImages").glob(f"{name}.jp*g"))) == 1 for name in names)
