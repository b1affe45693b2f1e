"""The way of an export: choices, order, errors, and what lies on the disk afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fiftyone_plugin
from fiftyone_plugin import export
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.export.formats import ExportOptions, formats
from fiftyone_plugin.export.items import ExportItem, ExportSource
from fiftyone_plugin.export.run import export_source
from fiftyone_plugin.export.staging import ExportFolder, is_safe_name
from fiftyone_plugin.images import read_image

from .conftest import NAMES, read_folder

TWO = {1: "sky", 2: "sea"}
PAIR = np.array([[0, 1, 1], [2, 2, 1]], np.uint8)
REPOSITORY = Path(fiftyone_plugin.__file__).parents[1]


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def load(folder: Path, name: str = "instances") -> dict:
    return json.loads((folder / "annotations" / f"{name}.json").read_text())


def test_the_package_can_be_called_and_its_modules_imported(levels, tmp_path):
    import fiftyone_plugin.export.api

    assert fiftyone_plugin.export.api.export is fiftyone_plugin.export.export
    assert fiftyone_plugin.export(levels, out=tmp_path / "o").images == 7


@pytest.mark.parametrize("name", list(formats()))
def test_bytes_do_not_depend_on_the_number_of_processes(levels, tmp_path, name, monkeypatch):
    from fiftyone_plugin.export import run

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
    result = export_source(
        source, tmp_path / "drop", "coco-instances", options=ExportOptions(min_quality=0.5)
    )
    assert [(s.key, s.reason, s.expected) for s in result.skipped] == [
        ("b.jpg", "quality 0.200", True),
        ("c.jpg", "quality unknown", True),
    ]
    assert result.failed == []
    marking = ExportOptions(min_quality=0.5, low_quality="mark")
    assert export_source(source, tmp_path / "mark", "coco-instances", options=marking).marked == 2
    document = load(tmp_path / "mark")
    for entries, key in ((document["images"], "id"), (document["annotations"], "image_id")):
        assert {(e[key], e.get("quality"), e.get("low_quality")) for e in entries} == {
            (1, 0.9, None), (2, 0.2, True), (3, None, True),
        }  # fmt: skip
    for name in ("masks", "voc", "yolo"):
        export_source(source, tmp_path / name, name, options=marking)
        assert (tmp_path / name / "low_quality.txt").read_text().split() == ["b", "c"]
    export_source(source, tmp_path / "results", "coco-results")
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert [e["score"] for e in results[::2]] == [0.9, 0.2, 1.0]


def test_splits_by_tag(small, tmp_path):
    root = small(dict.fromkeys("abcd", PAIR), TWO)
    tags = {"a": ("train", "x"), "b": ("val",), "c": ("val", "train")}
    source = source_of(root, dict.fromkeys("abcd"), tags)
    options = ExportOptions(splits=("train", "val", "test"))
    result = export_source(source, tmp_path / "o", "coco-instances", options=options)
    assert result.splits == {"train": 1, "val": 1, "test": 0}
    assert [(s.key, s.expected) for s in result.skipped] == [("c.jpg", False), ("d.jpg", True)]
    names = {
        split: [i["file_name"] for i in load(tmp_path / "o", f"instances_{split}")["images"]]
        for split in options.splits
    }
    assert names == {"train": ["a.jpg"], "val": ["b.jpg"], "test": []}
    for kind in set(formats()) - {"coco-instances"}:
        assert export_source(source, tmp_path / kind, kind, options=options).splits == result.splits
    assert (tmp_path / "masks" / "splits" / "val.txt").read_text() == "b\n"
    assert (tmp_path / "coco-panoptic" / "annotations" / "panoptic_train" / "a.png").is_file()
    assert json.loads((tmp_path / "coco-results" / "results_test.json").read_text()) == []


def test_folders_are_the_tags_of_a_folder(levels, tmp_path):
    result = export(levels, out=tmp_path / "o", splits=("train", "val"))
    assert result.splits == {"train": 4, "val": 3}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "coco"}, "no format 'coco'; there are: coco-instances"),
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
    (root / "masks" / "b.png").unlink()
    for kind in formats():
        assert export(root, out=tmp_path / kind, format=kind).images == 2
    assert {i["file_name"] for i in load(tmp_path / "coco-instances")["images"]} == {
        "a.jpg.jpg", "a.jpeg.jpeg",
    }  # fmt: skip
    names = (tmp_path / "voc" / "ImageSets" / "Segmentation" / "trainval.txt").read_text().split()
    assert all(len(list((tmp_path / "voc" / "JPEGImages").glob(f"{name}.jp*g"))) == 1 for name in names)


# --- bad input -------------------------------------------------------------------------------------


def test_bad_files_are_listed_and_the_rest_is_exported(small, tmp_path):
    root = small(dict.fromkeys(("bytes", "colours", "good", "huge", "image", "lost", "size"), PAIR), TWO)
    (root / "masks" / "bytes.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(root / "masks" / "colours.png")
    Image.fromarray(PAIR.astype(np.float32)).save(root / "masks" / "huge.tif")
    (root / "masks" / "huge.png").unlink()
    (root / "images" / "image.jpg").write_bytes(b"")
    (root / "masks" / "lost.png").unlink()
    Image.fromarray(PAIR.T).save(root / "masks" / "size.png")
    (root / "masks" / "alone.png").write_bytes((root / "masks" / "good.png").read_bytes())
    result = export(root, out=tmp_path / "o")
    assert result.images == 1
    reasons = {entry.key: entry.reason for entry in result.failed}
    assert reasons.keys() == {
        "bytes.jpg", "colours.jpg", "huge.jpg", "image.jpg", "lost.jpg", "size.jpg", "masks/alone",
    }  # fmt: skip
    assert "cannot be read" in reasons["bytes.jpg"]
    assert "ids without a name" in reasons["colours.jpg"]
    assert "empty file" in reasons["image.jpg"]
    assert reasons["lost.jpg"] == "no mask"
    assert reasons["masks/alone"] == "no image"
    assert "is 2x3, its image 3x2 (width x height)" in reasons["size.jpg"]


def test_if_nothing_is_left_nothing_is_written(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    (root / "images" / "a.jpg").write_bytes(b"x")
    with pytest.raises(PseudoMaskError, match="nothing was exported"):
        export(root, out=tmp_path / "deep" / "o")
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "c:/x", "c:x", "\\x", "a\\..\\b", "", "a\0"])
def test_names_that_lead_out_of_the_folder(name):
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.png", "a..b", "..a", "ä ö/ü"])
def test_names_that_stay_in_the_folder(name):
    assert is_safe_name(name)


def test_a_table_that_points_out_of_its_folder(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    run = {"format": 1, "status": "complete", "settings": {"seed": 0}, "images_root": str(root / "images")}
    (root / "run.json").write_text(json.dumps(run))
    rows = ["image,mask,status,quality,other", "a.jpg,a.png,labelled,0.25,x", "../b.jpg,a.png,labelled,,x",
            "c.jpg,../../c.png,labelled,,x", "d.jpg,,skipped,,x"]  # fmt: skip
    (root / "samples.csv").write_text("\n".join(rows))
    result = export(root, out=tmp_path / "o")
    assert [(s.key, s.reason) for s in result.failed] == [
        ("../b.jpg", "its path leads out of the folder"),
        ("c.jpg", "its path leads out of the folder"),
        ("d.jpg", "not labelled: skipped"),
    ]
    assert load(tmp_path / "o")["images"][0]["quality"] == 0.25
    assert json.loads((tmp_path / "o" / "export.json").read_text())["provenance"]["settings"] == {"seed": 0}


def test_class_names_are_only_ever_text(small, tmp_path):
    names = {1: "../../etc/passwd", 2: 'a/b: "c"\n'}
    root = small({"a": PAIR}, names)
    for kind in formats():
        result = export(root, out=tmp_path / "out" / kind, format=kind)
        assert list(result.categories.values()) == list(names.values())
    assert {p.name for p in tmp_path.iterdir()} == {"small", "out"}
    assert load(tmp_path / "out" / "coco-stuff", "stuff")["categories"][1]["name"] == names[2]
    import yaml

    assert yaml.safe_load((tmp_path / "out" / "yolo" / "data.yaml").read_text())["names"][1] == names[2]


# --- the target ------------------------------------------------------------------------------------


def test_never_overwrites_without_being_told(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    out = tmp_path / "o"
    out.mkdir()
    export(root, out=out)  # empty folders are fine
    before = files(out)
    with pytest.raises(UsageError, match="holds an export"):
        export(root, out=out, format="voc")
    assert files(out) == before
    export(root, out=out, format="voc", overwrite=True)
    assert not (out / "annotations").exists()
    assert (out / "SegmentationClass" / "a.png").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "small"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_export_stays(small, tmp_path, overwrite):
    root = small({"a": PAIR}, TWO)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="no export wrote"):
        export(root, out=tmp_path / "mine", overwrite=overwrite)
    with pytest.raises(UsageError, match="no export wrote"):
        export(root, out=root, overwrite=overwrite)
    with pytest.raises(UsageError, match="is a file"):
        export(root, out=tmp_path / "mine" / "thesis.txt", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_an_export_is_not_replaced_by_an_export_of_itself(small, tmp_path):
    export(small({"a": PAIR}, TWO), out=tmp_path / "o", format="masks")
    before = files(tmp_path / "o")
    with pytest.raises(UsageError, match="holds what is to be exported"):
        export(tmp_path / "o", out=tmp_path / "o", overwrite=True)
    assert files(tmp_path / "o") == before


@pytest.mark.parametrize("name", list(formats()))
def test_a_disk_that_fills_up_leaves_nothing(small, tmp_path, name):
    """A limit on the size of files is what a full disk is to a program: a write that fails half-way."""
    rng = np.random.default_rng(0)
    root = small({f"{i}": rng.integers(0, 3, (80, 90), np.uint8) for i in range(4)}, TWO)
    code = (
        "import resource, signal, sys\n"
        "from fiftyone_plugin.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    pytest.importorskip("resource")
    arguments = ["export", str(root), "--out", str(tmp_path / "o"), "--format", name, "-q"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_targets_that_cannot_be_written(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to"):
        export(root, out=tmp_path / "file" / "o")
    with pytest.raises(UsageError, match="is a mount point; choose a folder inside it"):
        export(root, out=tmp_path.anchor)
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(UsageError, match="cannot write to"):
            export(root, out=tmp_path / "closed" / "o")


def test_a_caller_who_cancels_leaves_nothing(levels, tmp_path):
    from fiftyone_plugin.progress import CallbackProgress

    def cancel(stage, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(levels, out=tmp_path / "o", progress=CallbackProgress(cancel, interval=0))
    assert list(tmp_path.iterdir()) == []


def test_two_exports_to_one_folder_do_not_mix(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    with ExportFolder(tmp_path / "o") as first:
        (first.path / "export.json").write_text("{}")
        export(root, out=tmp_path / "o")
        with pytest.raises(UsageError, match="holds an export"):
            first.commit()
    assert load(tmp_path / "o")["images"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "small"]


def test_sources_that_are_none(tmp_path, levels):
    with pytest.raises(UsageError, match="has no folder masks/"):
        export(tmp_path, out=tmp_path / "o")
    (tmp_path / "masks").mkdir()
    with pytest.raises(UsageError, match=r"where the images of .* are is not known"):
        export(tmp_path, out=tmp_path / "o")
    (tmp_path / "run.json").write_text('{"format": 1, "status": "running", "settings": {}}')
    with pytest.raises(UsageError, match="is not finished"):
        export(tmp_path, out=tmp_path / "o")


def test_masks_as_they_were(levels, originals, tmp_path):
    export(levels, out=tmp_path / "o", format="masks")
    again = read_folder(tmp_path / "o" / "masks")
    assert again.keys() == originals.keys()
    assert all(np.array_equal(again[name], originals[name]) for name in originals)
    assert json.loads((tmp_path / "o" / "classes.json").read_text()) == NAMES


def test_names_that_are_no_text(small, tmp_path):
    root = small({"a": PAIR, "b": PAIR, "c": PAIR}, TWO)
    names = {"a": b"\xff\xfe", "b": b"line\nbreak"}
    try:
        for old, new in names.items():
            for folder, suffix in (("images", ".jpg"), ("masks", ".png")):
                path = os.fsencode(root / folder)
                os.rename(path + f"/{old}{suffix}".encode(), path + b"/" + new + suffix.encode())
    except OSError as error:
        pytest.skip(f"no such names on this file system: {error}")
    for kind in formats():
        result = export(root, out=tmp_path / kind, format=kind)
        assert result.images == 2
        (skipped,) = result.failed
        assert skipped.reason == "a line break in its name: lists have a line an image"
    stems = (tmp_path / "voc" / "ImageSets" / "Segmentation" / "trainval.txt").read_bytes().split(b"\n")
    assert sorted(stems) == [b"", b"c", b"\xff\xfe"]
