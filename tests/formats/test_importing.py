from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.formats import export, read_masks
from fiftyone_plugin.formats.coco import coco_annotations
from fiftyone_plugin.formats.coco_shapes import decode_segmentation
from fiftyone_plugin.formats.importing import safe_targets
from fiftyone_plugin.masks.segments import find_segments

from ..masks.strategies import masks
from .conftest import NAMES, read_folder

ROUTES = [
    ("coco-instances", {}),
    ("coco-instances", {"polygons": True}),
    ("coco-instances", {"images": "reference"}),
    ("coco-stuff", {}),
    ("coco-panoptic", {"stuff": ["night"]}),
    ("masks", {}),
]


@pytest.mark.parametrize(("name", "options"), ROUTES)
def test_masks_come_back_as_they_were(levels, originals, tmp_path, name, options):
    export(levels, out=tmp_path / "o", format=name, **options)
    result = read_masks(tmp_path / "o", tmp_path / "back")
    assert result.skipped == []
    assert result.names == {int(k): v for k, v in NAMES.items()}
    again = read_folder(tmp_path / "back" / "masks")
    assert len(again) == len(originals)
    for stem, mask in again.items():
        (original,) = [m for name, m in originals.items() if stem.endswith(name)]
        assert np.array_equal(mask, original)
    if options.get("images") == "reference":
        return
    # what was read is itself a source of masks
    assert read_masks(tmp_path / "back", tmp_path / "again").names == result.names


def test_voc_comes_back_with_its_own_ids(levels, originals, tmp_path):
    export(levels, out=tmp_path / "o", format="voc", border=1, void=True)
    result = read_masks(tmp_path / "o", tmp_path / "back")
    assert result.names == dict(enumerate(NAMES.values(), 1))
    again = read_folder(tmp_path / "back" / "masks")
    ids = np.array([0, *map(int, NAMES)])
    for stem, mask in originals.items():
        kept = again[stem] > 0
        assert kept.mean() > 0.2
        assert np.array_equal(ids[again[stem]][kept], mask[kept])


def test_real_instances_there_and_back(data_dir, tmp_path):
    """COCO's own annotations -> masks -> export -> import: identical."""
    root = data_dir / "coco_instances"
    first = read_masks(root / "instances.json", tmp_path / "first")
    assert first.skipped == []
    drawn = read_folder(tmp_path / "first" / "masks")
    coco = COCO(str(root / "instances.json"))
    assert len(drawn) == len(coco.imgs) == 80
    for image in list(coco.imgs.values())[:20]:
        # large ones first, as documented
        expected = np.zeros((image["height"], image["width"]), np.uint8)
        entries = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        for entry in sorted(entries, key=lambda e: -int(coco_mask.area(coco.annToRLE(e)))):
            expected[coco.annToMask(entry) > 0] = entry["category_id"]
        assert np.array_equal(drawn[image["file_name"].split(".")[0]], expected)
    (tmp_path / "first" / "images").symlink_to(root / "images")
    for name in ("coco-instances", "coco-panoptic"):
        export(tmp_path / "first", out=tmp_path / name, format=name, images="reference")
        second = read_masks(tmp_path / name, tmp_path / f"{name}-back")
        assert second.names == first.names
        for stem, path in second.masks.items():
            assert np.array_equal(np.asarray(Image.open(path)), drawn[stem.rsplit("/", 1)[-1]])
        assert len(second.masks) == 80


def test_uncompressed_rle_polygons_and_nothing():
    mask = np.array([[0, 1], [1, 1]], bool)
    assert np.array_equal(decode_segmentation({"size": [2, 2], "counts": [1, 3]}, 2, 2), mask)
    square = [[0, 0, 2, 0, 2, 2, 0, 2]]
    assert decode_segmentation(square, 2, 2).all()
    assert not decode_segmentation([], 2, 2).any()
    assert not decode_segmentation([[0, 0, 1, 1]], 2, 2).any()
    for wrong in (
        {"size": [3, 2], "counts": [1, 5]},
        {"counts": 3},
        "text",
        [["a"] * 6],
        None,
        {"size": [2, 2]},
    ):
        with pytest.raises(UsageError):
            decode_segmentation(wrong, 2, 2)


@given(masks())
def test_annotations_are_decoded_to_what_they_encode(mask):
    for polygons in (False, True):
        segments = find_segments(mask)
        again = np.zeros_like(mask)
        for entry in coco_annotations(segments, polygons=polygons):
            again[decode_segmentation(entry["segmentation"], *mask.shape)] = entry["category_id"]
        assert np.array_equal(again, mask)


def coco_file(path, annotations, images=None, categories=None):
    document = {
        "images": images or [{"id": 1, "file_name": "a.jpg", "width": 2, "height": 2}],
        "categories": categories or [{"id": 1, "name": "sky"}],
        "annotations": annotations,
    }
    path.write_text(json.dumps(document))
    return path


def test_bad_annotations_are_a_listed_skip(tmp_path):
    images = [{"id": i, "file_name": f"{n}.jpg", "width": 2, "height": 2} for i, n in enumerate("abcd")]
    square = [[0, 0, 2, 0, 2, 2, 0, 2]]
    source = coco_file(
        tmp_path / "x.json",
        [
            {"image_id": 0, "category_id": 1, "segmentation": square},
            {"image_id": 1, "category_id": 9, "segmentation": square},
            {"image_id": 2, "category_id": 1, "segmentation": {"size": [5, 5], "counts": [25]}},
        ],
        images,
    )
    result = read_masks(source, tmp_path / "o")
    assert sorted(result.masks) == ["a", "d"]  # no annotation: an empty mask
    assert {entry.key: entry.reason for entry in result.skipped if entry not in result.lost} == {
        "b": "none of its 1 annotations can be used",
        "c": "none of its 1 annotations can be used: RLE of size [5, 5] in an image of [2, 2]",
    }
    assert {entry.key: entry.reason for entry in result.lost} == {
        "b.jpg, annotation without id, number 1": "no category of id 9",
        "c.jpg, an annotation without id": "RLE of size [5, 5] in an image of [2, 2]",
    }
    record = json.loads((tmp_path / "o" / "export.json").read_text())
    assert record["counts"] == {"masks": 2, "skipped": 4, "annotations_lost": 2}


def test_category_ids_that_fit_no_mask_are_numbered(tmp_path):
    square = [[0, 0, 2, 0, 2, 2, 0, 2]]
    source = coco_file(
        tmp_path / "x.json",
        [{"image_id": 1, "category_id": 100_000, "segmentation": square}],
        categories=[{"id": 0, "name": "sky"}, {"id": 100_000, "name": "sea"}],
    )
    result = read_masks(source, tmp_path / "o")
    assert result.names == {1: "sky", 2: "sea"}
    assert (read_folder(tmp_path / "o" / "masks")["a"] == 2).all()


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "x/../../a.jpg",
        "/a.jpg",
        r"..\..\a.jpg",
        r"C:\a.jpg",
        r"\\?\C:\a.jpg",
        "//a.jpg",
        "./a.jpg",
    ],
)
def test_names_that_lead_out_of_the_folder_are_written_inside(tmp_path, name):
    images = [{"id": 1, "file_name": name, "width": 2, "height": 2}]
    images.append({"id": 2, "file_name": "b.jpg", "width": 2, "height": 2})
    result = read_masks(coco_file(tmp_path / "x.json", [], images), tmp_path / "deep" / "o")
    assert result.skipped == []
    assert sorted(read_folder(tmp_path / "deep" / "o" / "masks")) == ["a", "b"]
    assert len(list(tmp_path.glob("**/a*"))) == 1


def test_names_that_would_share_a_file_have_files_of_their_own():
    targets = safe_targets(["../a", "a", "A", "x/b", "b.png/c", "b", "d"])
    assert [targets[stem] for stem in ("x/b", "b.png/c", "d")] == ["x/b", "b.png/c", "d"]
    assert len({target.casefold() for target in targets.values()}) == 7
    assert all(targets[stem].startswith(f"{stem[-1]}.") for stem in ("../a", "a", "A", "b"))
    assert safe_targets(["/d/e/a", "/d/e/x/a"]) == {"/d/e/a": "a", "/d/e/x/a": "x/a"}
    assert safe_targets([r"C:\d\a", r"C:\d\b"]) == {r"C:\d\a": "a", r"C:\d\b": "b"}
    assert safe_targets([]) == {}


def test_a_name_that_no_file_system_takes_is_a_listed_skip(tmp_path):
    long = ["y" * 246, "x" * 252, "\u00e9" * 130]
    images = [{"id": i, "file_name": f"{n}.jpg", "width": 2, "height": 2} for i, n in enumerate(long)]
    result = read_masks(coco_file(tmp_path / "x.json", [], images), tmp_path / "o")
    assert list(result.masks) == long[:1]
    assert [entry.reason for entry in result.skipped] == [
        "its name has 256 bytes; file systems take 255",
        "its name has 264 bytes; file systems take 255",
    ]


def test_masks_without_names(small, tmp_path):
    root = small({"a": np.array([[0, 7, 9]], np.uint8)})
    assert read_masks(root, tmp_path / "o").names == {7: "class 7", 9: "class 9"}
    assert json.loads((tmp_path / "o" / "classes.json").read_text()) == {"7": "class 7", "9": "class 9"}
    (root / "classes.json").write_text('{"7": "sky"}')
    with pytest.raises(PseudoMaskError, match="ids without a name: 9"):
        read_masks(root, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_several_coco_files_have_to_be_named(levels, tmp_path):
    export(levels, out=tmp_path / "o", splits=("train", "val"))
    with pytest.raises(UsageError, match=r"instances_train\.json, annotations/instances_val\.json"):
        read_masks(tmp_path / "o", tmp_path / "p")
    found = read_masks(tmp_path / "o" / "annotations" / "instances_val.json", tmp_path / "p")
    assert len(found.masks) == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"images": [{}], "categories": [], "annotations": []}'])
def test_files_that_are_not_coco(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UsageError, match="is not a COCO file"):
        read_masks(tmp_path / "x.json", tmp_path / "o")


def test_sources_that_are_none(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        read_masks(tmp_path / "none", tmp_path / "o")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no masks in"):
        read_masks(tmp_path / "empty", tmp_path / "o")


def test_photographs_of_a_yolo_data_set_are_no_masks(tmp_path):
    for name in ("images/train", "labels/train"):
        (tmp_path / name).mkdir(parents=True)
    Image.fromarray(np.full((2, 2), 7, np.uint8)).save(tmp_path / "images" / "train" / "grey.png")
    (tmp_path / "data.yaml").write_text("names:\n  0: sky\n")
    with pytest.raises(UsageError, match="is a YOLO data set"):
        read_masks(tmp_path, tmp_path / "o")


def test_an_import_replaces_an_import_only_when_told(small, tmp_path):
    root = small({"a": np.ones((2, 2), np.uint8)}, {1: "sky"})
    read_masks(root, tmp_path / "o")
    with pytest.raises(UsageError, match="holds an export"):
        read_masks(root, tmp_path / "o")
    read_masks(root, tmp_path / "o", overwrite=True)
    with pytest.raises(UsageError, match="holds what is to be exported"):
        read_masks(tmp_path / "o", tmp_path / "o", overwrite=True)


def test_sizes_that_no_image_has_and_names_that_occur_twice(tmp_path):
    images = [
        {"id": i, "file_name": name, "width": width, "height": 2}
        for i, (name, width) in enumerate(
            [("a.jpg", 2), ("a.png", 3), ("b.jpg", 10**12), ("c.jpg", 0), ("d.jpg", -1)]
        )
    ]
    result = read_masks(coco_file(tmp_path / "x.json", [], images), tmp_path / "o")
    assert {name: mask.shape for name, mask in read_folder(tmp_path / "o" / "masks").items()} == {
        "a": (2, 2), "a.png": (2, 3),
    }  # fmt: skip
    assert [entry.key for entry in result.skipped] == ["b", "c", "d"]
