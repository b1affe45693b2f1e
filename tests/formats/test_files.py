"""Files of an export as other programs find and open them: copies of images, YOLO's labels, class names."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.base import ExportItem
from fiftyone_plugin.formats.voc import labelmap_names
from fiftyone_plugin.formats.yolo import train_and_validation, yolo_folder
from fiftyone_plugin.images.reading import read_image

from .run_helpers import PAIR, TWO

# --- copies ----------------------------------------------------------------------------------------


def picture(**options) -> bytes:
    """A photograph's bytes, 3 x 2 as ``PAIR`` is unless it is turned."""
    buffer = io.BytesIO()
    kind = options.pop("format", "JPEG")
    size = (2, 3) if options.pop("turned", False) else (3, 2)
    values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(values).save(buffer, kind, **options)
    return buffer.getvalue()


def orientation(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    exif[0x010F] = "maker"
    return exif.tobytes()


def exported(small, tmp_path, name: str, data: bytes, **options):
    root = small({"ok": PAIR}, TWO)
    (root / "images" / name).write_bytes(data)
    stem = os.path.splitext(name)[0]
    (root / "masks" / f"{stem}.png").write_bytes((root / "masks" / "ok.png").read_bytes())
    result = export(root, out=tmp_path / "o", **options)
    assert [entry.key for entry in result.failed] == []
    return sorted(p for p in (tmp_path / "o" / "images").iterdir() if p.name != "ok.jpg")


XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF>'
    b"</x:xmpmeta>"
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("plain.jpg", picture(quality=60)),
        ("upright.jpg", picture(exif=orientation(1))),
        ("nonsense.jpg", picture(exif=orientation(9))),
        ("xmp.jpg", picture(xmp=XMP)),
        ("webp.webp", picture(format="WEBP", exif=orientation(6))),  # browsers leave it as it is
        ("colours.jpg", picture(icc_profile=b"\0" * 200)),
    ],
)
def test_copies_have_the_same_bytes(small, tmp_path, name, data):
    (copy,) = exported(small, tmp_path, name, data)
    assert copy.read_bytes() == data


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
@pytest.mark.parametrize("value", [5, 6, 7, 8])
def test_copies_of_images_stored_turned_are_upright_and_keep_the_rest(small, tmp_path, kind, suffix, value):
    data = picture(format=kind, turned=True, exif=orientation(value), icc_profile=b"profile")
    (copy,) = exported(small, tmp_path, f"a{suffix}", data)
    original = read_image(tmp_path / "small" / "images" / f"a{suffix}").astype(int)
    with Image.open(copy) as image:
        assert image.format == kind
        assert 0x0112 not in image.getexif()
        assert image.getexif()[0x010F] == "maker"
        assert image.info["icc_profile"] == b"profile"
        difference = np.abs(np.asarray(image).astype(int) - original)
    assert difference.max() <= (0 if kind == "PNG" else 24)


@pytest.mark.parametrize(
    ("name", "data", "suffix"),
    [
        ("0a1b2c3d", picture(), ".jpg"),
        ("turned", picture(turned=True, exif=orientation(6)), ".jpg"),
        ("photo.jpg_large", picture(), ".jpg"),
        ("photo.jpg~orig", picture(turned=True, exif=orientation(8)), ".jpg"),
        ("x.psd", picture(format="TIFF"), ".tif"),
        ("x.jfif", picture(), ".jfif"),
        ("PNG.JPG", picture(format="PNG"), ".JPG"),
    ],
)
def test_extensions_fit_what_is_inside(small, tmp_path, name, data, suffix):
    root = small({"ok": PAIR}, TWO)
    run = {"format": 1, "status": "complete", "settings": {"seed": 0}, "images_root": str(root / "images")}
    (root / "run.json").write_text(json.dumps(run))
    (root / "samples.csv").write_text(
        f"image,mask,status,quality\n{name},a.png,labelled,\nok.jpg,ok.png,labelled,\n"
    )
    (root / "images" / name).write_bytes(data)
    (root / "masks" / "a.png").write_bytes((root / "masks" / "ok.png").read_bytes())
    assert export(root, out=tmp_path / "o", format="coco-instances").images == 2
    document = json.loads((tmp_path / "o" / "annotations" / "instances.json").read_text())
    assert {entry["file_name"] for entry in document["images"]} == {f"a{suffix}", "ok.jpg"}
    with Image.open(tmp_path / "o" / "images" / f"a{suffix}") as image:
        assert image.size == (3, 2)


# --- YOLO ------------------------------------------------------------------------------------------


def label_of(image: str) -> str:
    """What ultralytics.data.utils.img2label_paths does."""
    parts = f"{os.sep}images{os.sep}", f"{os.sep}labels{os.sep}"
    return parts[1].join(image.rsplit(parts[0], 1)).rsplit(".", 1)[0] + ".txt"


TREES = {
    "Roboflow": ("train/images/0", "train/images/1", "valid/images/0", "valid/images/1"),
    "names that would meet": ("images/a", "images_/a", "images__/a", "a", "IMAGES/b"),
    "deep": ("images/images/images/a", "x/images/y/images/a", "labels/a", "labels/images/a"),
    "flat": ("a", "b.c.d", "images"),
}


@pytest.mark.parametrize("tree", TREES)
def test_yolo_finds_every_label(small, tmp_path, tree):
    root = small(dict.fromkeys(TREES[tree], PAIR), TWO)
    out = tmp_path / "images" / "o"  # a folder of that name above does no harm
    assert export(root, out=out, format="yolo").images == len(TREES[tree])
    images = [str(path) for path in out.rglob("*.jpg")]
    assert len(images) == len(TREES[tree])
    assert len({label_of(path) for path in images}) == len(images)
    assert all(os.path.isfile(label_of(path)) for path in images)


@given(st.lists(st.sampled_from(["images", "Images", "images_", "IMAGES_", "images__", "a"]), unique=True))
def test_folders_stay_different_where_case_does_not_count(names):
    different = {name.lower() for name in names}
    assert len({yolo_folder(name).lower() for name in names}) == len(different)
    assert "images" not in {yolo_folder(name).lower() for name in names}


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        (("train", "val"), ("train", "val")),
        (("train", "valid"), ("train", "valid")),
        (("valid", "train", "test"), ("train", "valid")),
        (("train", "validation"), ("train", "validation")),
        (("train", "test"), ("train", "test")),
        (("a", "b", "val"), ("a", "val")),
        (("train",), ("train", None)),
        (("a", "b"), ("a", None)),
        ((), ("train", None)),
    ],
)
def test_validation_is_never_training(splits, expected):
    assert train_and_validation(splits) == expected


@pytest.mark.parametrize("splits", [["train", "valid"], ["train"], []])
def test_data_yaml_names_folders_that_are_there(small, tmp_path, splits):
    root = small(dict.fromkeys(("train/images/0", "valid/images/1"), PAIR), TWO)
    export(root, out=tmp_path / "o", format="yolo", splits=splits)
    document = yaml.safe_load((tmp_path / "o" / "data.yaml").read_text())
    assert document["train"] != document["val"]
    for key in ("train", "val", *(split for split in splits)):
        assert (tmp_path / "o" / document[key]).is_dir()
    for image in map(str, (tmp_path / "o").rglob("*.jpg")):
        assert os.path.isfile(label_of(image))
    if "valid" in splits:
        assert [p.name for p in (tmp_path / "o" / document["val"]).rglob("*.jpg")] == ["1.jpg"]
    else:
        assert "No images for validation" in (tmp_path / "o" / "data.yaml").read_text()


def test_a_split_called_images(small, tmp_path):
    root = small(dict.fromkeys(("images/0", "val/1"), PAIR), TWO)
    export(root, out=tmp_path / "o", format="yolo", splits=["images", "val"])
    images = [str(path) for path in (tmp_path / "o").rglob("*.jpg")]
    assert len(images) == 2
    assert all(os.path.isfile(label_of(image)) for image in images)


def test_splits_that_mean_something_else_to_yolo(small, tmp_path):
    root = small({"names/a": PAIR}, TWO)
    with pytest.raises(UsageError, match=r"'names' has another meaning in data\.yaml"):
        export(root, out=tmp_path / "o", format="yolo", splits=["names"])


# --- names and qualities ---------------------------------------------------------------------------


@given(st.lists(st.text(max_size=6), min_size=1, max_size=5))
def test_rows_of_labelmap_are_split_as_they_were_meant(names):
    given_names = {0: "background", **dict(enumerate(names, 1))}
    shown = labelmap_names(given_names)
    rows = [f"{name}:0,0,0::" for name in shown.values()]
    lines = [line for line in "\n".join(rows).splitlines() if line and not line.startswith("#")]
    assert [line.split(":")[0] for line in lines] == list(shown.values())
    assert len(set(shown.values())) == len(given_names)
    assert all(len(line.split(":")) == 4 for line in lines)


def test_plain_names_stay_as_they_are():
    names = {0: "background", 1: "traffic light", 2: "Straße", 3: "=SUM(A1)"}
    assert labelmap_names(names) == names
    assert labelmap_names({1: "a:b", 2: "a b", 3: "#1\nx"}) == {1: "a b", 2: "a b (2)", 3: "1 x"}


class_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(class_names, min_size=1, max_size=4, unique=True))
def test_yaml_gives_class_names_back(tmp_path_factory, names):
    from fiftyone_plugin.formats.base import ExportOptions
    from fiftyone_plugin.formats.categories import Categories
    from fiftyone_plugin.formats.yolo import YoloWriter

    folder = tmp_path_factory.mktemp("yolo")
    try:
        categories = Categories.build(dict(enumerate(names, 1)))
    except UsageError:  # e.g. an empty name
        return
    YoloWriter(folder, categories, ExportOptions(), {}).finish()
    document = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    assert list(document["names"].values()) == [item.name for item in categories.items]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3.0, 1.7, 40, "good", True, None])
def test_what_is_no_quality_is_unknown(value):
    assert ExportItem("a", "a", "a", "a", quality=value).known_quality is None


@pytest.mark.parametrize("value", [0, 0.5, 1, np.float32(0.25), np.int64(1)])
def test_qualities(value):
    assert ExportItem("a", "a", "a", "a", quality=value).known_quality == float(value)
