from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.cli.export import FORMATS
from fiftyone_plugin.cli.main import main
from fiftyone_plugin.formats.registry import formats

from .conftest import read_folder

REPOSITORY = Path(__file__).resolve().parents[2]
TWO = {1: "sky", 2: "sea"}
PAIR = np.array([[0, 1, 1], [2, 2, 1]], np.uint8)

# Python ends itself with the signal where the interrupt met code that was compiled from text, e.g. of a
# dataclass; a shell shows 130 for both.
INTERRUPTED = (130, -signal.SIGINT)


def test_the_command_knows_every_format():
    assert tuple(formats()) == FORMATS


def test_export_and_import(levels, originals, tmp_path, capsys):
    assert main(["export", str(levels), "--out", str(tmp_path / "o"), "--splits", "train", "val"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("coco-instances: 7 images, ")
    assert "4 classes, 0 skipped" in printed[0]
    assert printed[1:] == ["  train: 4 images", "  val: 3 images", f"written to {tmp_path / 'o'}"]
    file = tmp_path / "o" / "annotations" / "instances_train.json"
    assert main(["import", str(file), "--out", str(tmp_path / "back")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "4 masks, 4 classes, 0 skipped",
        f"written to {tmp_path / 'back'}",
    ]
    again = read_folder(tmp_path / "back" / "masks")
    assert all(np.array_equal(mask, originals[name]) for name, mask in again.items())


def test_options_reach_the_export(small, tmp_path):
    root = small({"a": PAIR, "b": PAIR * 3}, TWO)
    options = "--format voc --only sea --ignore 3 6 --images symlink --void --border 1 --min-area 1"
    more = (
        "--small merge --connectivity 8 --tolerance 1 --polygons --low-quality mark --stuff sea --jobs 1 -q"
        " --val 0.5 --seed 3 --background rest --instances"
    )
    assert main(["export", str(root), "--out", str(tmp_path / "o"), *options.split(), *more.split()]) == 0
    record = json.loads((tmp_path / "o" / "export.json").read_text())
    assert record["options"] == {
        "min_area": 1, "small": "merge", "min_quality": None, "low_quality": "mark", "images": "symlink",
        "splits": ["train", "val"], "polygons": True, "tolerance": 1.0, "connectivity": 8, "border": 1,
        "void": True, "like": None, "min_confidence": 0, "val": 0.5, "seed": 3, "background": "rest",
        "instances": True,
    }  # fmt: skip
    assert [c["name"] for c in record["categories"]] == ["sea"]
    assert record["counts"]["images"] == 2


def test_failures_are_listed_and_count_under_strict(small, tmp_path, capsys):
    root = small({"a": PAIR, "b": PAIR}, TWO)
    (root / "masks" / "b.png").write_bytes(b"x")
    assert main(["export", str(root), "--out", str(tmp_path / "o"), "-q"]) == 0
    assert capsys.readouterr().err.startswith("skipped b.jpg: ")
    assert main(["export", str(root), "--out", str(tmp_path / "p"), "-q", "--strict"]) == 3
    (tmp_path / "o" / "images" / "a.jpg").unlink()
    assert main(["import", str(root), "--out", str(tmp_path / "back"), "--strict"]) == 3
    assert "skipped b: " in capsys.readouterr().err


def test_refusals_are_one_line(fo, small, tmp_path, capsys):
    root = small({"a": PAIR}, TWO)
    out = ["--out", str(tmp_path / "o")]
    for arguments in (
        ["export", str(root), *out, "--field", "x"],
        ["export", str(root), *out, "--min-quality", "7"],
        ["export", str(tmp_path / "none"), *out],
        ["export", "fiftyone:x", *out, "--images-dir", "y"],
        ["import", str(root)],
        ["import", str(root), "--to", "dataset"],
    ):
        assert main(arguments) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_a_run_is_exported_without_naming_its_images(photos, tiny_weights, tmp_path):
    run = tmp_path / "run"
    label = ["label", str(photos), "--out", str(run), "--backbone", tiny_weights, "--size", "112"]
    assert main([*label, "--classes", "4", "--refine", "none", "--jobs", "1", "--no-cache", "-q"]) == 0
    assert main(["export", str(run), "--out", str(tmp_path / "o"), "--images", "reference", "-q"]) == 0
    document = json.loads((tmp_path / "o" / "annotations" / "instances.json").read_text())
    masks = read_folder(run / "masks")
    assert len(document["images"]) == len(masks)
    areas = {image["id"]: 0 for image in document["images"]}
    for entry in document["annotations"]:
        areas[entry["image_id"]] += entry["area"]
    assert sorted(areas.values()) == sorted(int((mask > 0).sum()) for mask in masks.values())
    record = json.loads((tmp_path / "o" / "export.json").read_text())
    assert record["provenance"]["settings"]["method"] == "mosaic"


@pytest.fixture
def stored(fo, dataset, tmp_path):
    """The photographs with masks on disk, a saved view and tags."""
    from PIL import Image

    for i, sample in enumerate(dataset.iter_samples(autosave=True)):
        with Image.open(sample.filepath) as image:
            mask = np.zeros(image.size[::-1], np.uint8)
        mask[: 20 + i] = 1 + i % 2
        path = tmp_path / f"{i}.png"
        Image.fromarray(mask).save(path)
        sample["masks"] = fo.Segmentation(mask_path=str(path))
        sample.tags = ["accepted"] if i < 3 else []
    dataset.mask_targets = {"masks": TWO}
    dataset.save()
    dataset.save_view("first", dataset.limit(2))
    return dataset


def test_a_dataset_its_views_and_tags(stored, tmp_path, capsys):
    name = f"fiftyone:{stored.name}"
    for options, images in (([], 7), (["--view", "first"], 2), (["--tag", "accepted"], 3)):
        out = tmp_path / f"o{images}"
        assert main(["export", name, "--out", str(out), "--format", "masks", "-q", *options]) == 0
        assert len(read_folder(out / "masks")) == images
    assert main(["export", name, "--out", str(tmp_path / "x"), "--view", "none"]) == 2
    assert "no saved view 'none'; there are: first" in capsys.readouterr().err
    # what comes back: the same masks in another field
    arguments = [
        "import",
        str(tmp_path / "o7"),
        "--to",
        name,
        "--field",
        "again",
        "--out",
        str(tmp_path / "a"),
    ]
    assert main(arguments) == 0
    assert f"7 samples of {name}, field again" in capsys.readouterr().out
    stored.reload()
    for sample in stored:
        assert np.array_equal(sample.again.get_mask(), sample.masks.get_mask())
    assert stored.mask_targets["again"] == TWO
    assert main(arguments) == 2
    assert "field 'again' exists" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals of a terminal")
def test_ctrl_c_leaves_nothing(small, tmp_path):
    rng = np.random.default_rng(0)
    root = small({f"{i:03d}": rng.integers(0, 3, (300, 300), np.uint8) for i in range(40)}, TWO)
    command = [sys.executable, "-m", "fiftyone_plugin", "export", str(root), "--out", str(tmp_path / "o")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        while not list(tmp_path.glob(".pseudomask-*/new/images/*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED, printed
    assert printed.splitlines()[-1] == "pseudomask: interrupted; nothing was exported"
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
