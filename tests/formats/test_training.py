"""Exports to train on: what the libraries that they are for read out of them, and who is left out."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.backbones.offline import BESIDE
from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.base import ExportOptions
from fiftyone_plugin.formats.choosing import draw_validation

from .conftest import NAMES
from .run_helpers import PAIR, TWO
from .test_consumers import category_of

FORMS = ("ultralytics-semantic", "mmsegmentation", "huggingface")
MASKS = {
    "ultralytics-semantic": "masks/train",
    "mmsegmentation": "ann_dir/train",
    "huggingface": "train/label",
}


@pytest.fixture(scope="module")
def expected(originals):
    """Class indices by the name of the image: the classes in order, unlabelled 255."""
    return {
        stem.rpartition("/")[2]: (category_of(mask) - 1).astype(np.uint8) for stem, mask in originals.items()
    }


def pixels(path):
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def stem(path):
    return os.path.splitext(os.path.basename(path))[0]


# --- the libraries ---------------------------------------------------------------------------------


#: In a process of its own: Ultralytics changes how Pillow opens files
READER = """
import json, sys
sys.path.append(sys.argv[3])
import numpy as np
from ultralytics.data.dataset import SemanticDataset
from ultralytics.data.utils import check_det_dataset
data = check_det_dataset(sys.argv[1], autodownload=False)
found = {}
for split in ("train", "val"):
    read = SemanticDataset(img_path=data[split], data=data, augment=False, rect=False)
    found |= {label["im_file"]: read.load_mask(i) for i, label in enumerate(read.labels)}
np.savez(sys.argv[2], **found)
print(json.dumps(list(data["names"].values())))
"""


def test_ultralytics_reads_every_pixel(levels, expected, tmp_path):
    if importlib.util.find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    out, found = tmp_path / "o", tmp_path / "found.npz"
    export(levels, out=out, format="ultralytics-semantic", val=0.3, seed=1)
    done = subprocess.run(
        [sys.executable, "-c", READER, out / "data.yaml", found, BESIDE],
        env=os.environ | {"YOLO_CONFIG_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == list(NAMES.values())
    with np.load(found) as read:
        masks = {stem(name): read[name] for name in read.files}
    assert masks.keys() == expected.keys()
    assert all(np.array_equal(masks[name], mask) for name, mask in expected.items())


def test_hugging_face_reads_every_pixel(levels, expected, tmp_path):
    datasets = pytest.importorskip("datasets", exc_type=ImportError)
    out = tmp_path / "o"
    export(levels, out=out, format="huggingface", splits=["train", "val"])
    read = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert list(read) == ["train", "validation"]
    assert json.loads((out / "id2label.json").read_text()) == dict(
        zip(map(str, range(4)), NAMES.values(), strict=True)
    )
    seen = 0
    for split, part in read.items():
        folder = "val" if split == "validation" else split
        lines = (out / folder / "metadata.jsonl").read_text().splitlines()
        for line, row in zip(map(json.loads, lines), part, strict=True):
            label = np.asarray(row["label"])
            assert np.array_equal(label, expected[stem(line["label_file_name"])])
            assert row["image"].size == label.shape[::-1]
            seen += 1
    assert seen == len(expected)


def mmseg_pairs(config, split):
    """BaseSegDataset.load_data_list, without an ann_file: files by suffix, the mask of the same name."""
    entry = config[f"{split}_dataset"]
    for part in entry.get("datasets", [entry]):
        images, masks = (
            os.path.join(part["data_root"], part["data_prefix"][k]) for k in ("img_path", "seg_map_path")
        )
        for folder, _, names in os.walk(images):
            for name in sorted(n for n in names if n.endswith(part["img_suffix"])):
                inner = os.path.relpath(os.path.join(folder, name), images)
                yield (
                    os.path.join(images, inner),
                    os.path.join(masks, inner[: -len(part["img_suffix"])] + part["seg_map_suffix"]),
                )


def read_config(out):
    text = (out / "dataset.py").read_text(encoding="ascii").replace("{{ fileDirname }}", str(out))
    scope = {}
    exec(compile(ast.parse(text), "dataset.py", "exec"), scope)
    return scope


def test_mmsegmentation_pairs_every_image_with_its_mask(levels, expected, tmp_path):
    out = tmp_path / "o"
    export(levels, out=out, format="mmsegmentation", splits=["train", "val"])
    config = read_config(out)
    assert config["metainfo"]["classes"] == list(NAMES.values())
    assert len(config["metainfo"]["palette"]) == len(NAMES)
    pairs = [pair for split in ("train", "val") for pair in mmseg_pairs(config, split)]
    assert {stem(mask) for _, mask in pairs} == expected.keys()
    for image, mask in pairs:
        assert np.array_equal(pixels(mask), expected[stem(image)])


def test_mmengine_reads_names_of_classes_as_text(small, tmp_path):
    names = {1: "{{ fileDirname }}", 2: "a\"'); import os #"}
    export(small({"a": PAIR}, names), out=tmp_path / "o", format="mmsegmentation")
    assert read_config(tmp_path / "o")["metainfo"]["classes"] == list(names.values())
    config = pytest.importorskip("mmengine.config", exc_type=ImportError)
    read = config.Config.fromfile(str(tmp_path / "o" / "dataset.py"))
    assert list(read.metainfo["classes"]) == list(names.values())
    assert read.data_root == f"{tmp_path / 'o'}/"


# --- what is ignored -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_unlabelled_is_ignored_or_a_class_of_its_own(small, tmp_path, form):
    root = small({"a": PAIR}, TWO)
    export(root, out=tmp_path / "o", format=form)
    assert pixels(tmp_path / "o" / MASKS[form] / "a.png").tolist() == [[255, 0, 0], [1, 1, 0]]
    export(root, out=tmp_path / "b", format=form, background="rest")
    assert pixels(tmp_path / "b" / MASKS[form] / "a.png").tolist() == [[0, 1, 1], [2, 2, 1]]
    text = "".join(p.read_text() for p in (tmp_path / "b").iterdir() if p.suffix in (".py", ".yaml", ".json"))
    assert text.index("rest") < text.index("sky") < text.index("sea")


@pytest.mark.parametrize("form", FORMS)
def test_what_cannot_be_learnt_from_is_refused(small, tmp_path, form):
    root = small({"a": PAIR}, TWO)
    for wrong, message in (
        ({"classes": ["sky"]}, "--background NAME"),
        ({"background": "sky"}, "already"),
        ({"images": "reference"}, "copy or symlink"),
        ({"val": 0.5}, "cannot be divided"),
        ({"val": 0.5, "splits": ["a"]}, "no other splits"),
    ):
        with pytest.raises(UsageError, match=message):
            export(root, out=tmp_path / "o", format=form, **wrong)
    many = small({"a": np.arange(1, 257, dtype=np.uint16).reshape(16, 16)})
    (many / "classes.json").unlink()
    with pytest.raises(UsageError, match="at most 255 classes, there are 256"):
        export(many, out=tmp_path / "o", format=form)


def test_pixels_without_confidence_are_ignored_in_every_format(small, tmp_path):
    mask = np.array([[1, 2]] * 2, np.uint8).repeat(4, 0).repeat(4, 1)
    root = small({"a": mask}, TWO)
    (root / "confidence").mkdir()
    Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)).save(root / "confidence" / "a.png")
    export(root, out=tmp_path / "b", format="huggingface", background="rest", min_confidence=0.1)
    found = pixels(tmp_path / "b" / "train" / "label" / "a.png")
    assert found[0, -1] == 255
    assert np.array_equal(found[found != 255], mask[found != 255])
    assert 1 <= (found == 255).sum() <= 16
    export(root, out=tmp_path / "m", format="masks", min_confidence=0.1)
    assert np.array_equal(pixels(tmp_path / "m" / "masks" / "a.png") == 0, found == 255)
    export(root, out=tmp_path / "v", format="voc", min_confidence=0.1)
    with Image.open(tmp_path / "v" / "SegmentationClass" / "a.png") as image:
        assert np.array_equal(np.asarray(image) == 255, found == 255)


def test_an_image_without_a_map_of_confidence_is_a_listed_skip(small, tmp_path):
    root = small({"a": PAIR, "b": PAIR}, TWO)
    (root / "confidence").mkdir()
    Image.fromarray(np.full((1, 1), 99, np.uint8)).save(root / "confidence" / "a.png")
    result = export(root, out=tmp_path / "o", min_confidence=0.2)
    assert [entry.key for entry in result.failed] == ["b.jpg"]
    (root / "confidence" / "a.png").unlink()
    (root / "confidence").rmdir()
    with pytest.raises(Exception, match="no map of confidence beside its mask"):
        export(root, out=tmp_path / "p", min_confidence=0.2)


# --- train and val ---------------------------------------------------------------------------------


@given(st.sets(st.text(), min_size=2, max_size=30), st.floats(0.01, 0.99), st.integers(0, 9))
def test_a_share_is_drawn_whatever_the_order(keys, share, seed):
    drawn = draw_validation(sorted(keys), share, seed)
    assert drawn == draw_validation(sorted(keys, reverse=True), share, seed)
    assert len(drawn) == min(max(round(share * len(keys)), 1), len(keys) - 1)
    assert drawn < keys


def test_other_seeds_draw_others_and_another_image_moves_few():
    keys = [f"{i}.jpg" for i in range(200)]
    first = draw_validation(keys, 0.2, 0)
    assert len(first) == 40
    assert len(first & draw_validation(keys, 0.2, 1)) < 25
    assert len(first & draw_validation([*keys, "new.jpg"], 0.2, 0)) >= 39


def test_every_format_takes_the_drawn_splits(levels, tmp_path):
    results = {
        form: export(levels, out=tmp_path / form, format=form, val=0.3)
        for form in ("voc", "yolo", "masks", *FORMS)
    }
    assert {tuple(result.splits.items()) for result in results.values()} == {(("train", 5), ("val", 2))}
    document = yaml.safe_load((tmp_path / "ultralytics-semantic" / "data.yaml").read_text())
    assert (document["train"], document["val"], document["masks_dir"]) == (
        "images/train",
        "images/val",
        "masks",
    )
    val = {p.stem for p in (tmp_path / "yolo" / "labels" / "val").rglob("*.txt")}
    assert val == {p.stem for p in (tmp_path / "mmsegmentation" / "ann_dir" / "val").rglob("*.png")}
    assert ExportOptions(val=0.3, splits=("train", "val")).splits == ("train", "val")


def test_masks_of_a_dataset_have_their_confidence(view, tmp_path):
    fo = pytest.importorskip("fiftyone")
    path = tmp_path / "low.png"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    for sample in view:
        sample["masks_confidence"] = fo.Heatmap(map_path=str(path), range=[0, 255])
        sample.save()
    result = export(view, "masks", out=tmp_path / "o", format="coco-stuff", min_confidence=0.01)
    assert (result.images, result.annotations) == (7, 0)
