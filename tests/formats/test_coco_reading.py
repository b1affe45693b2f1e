"""COCO files entry by entry: what can be used is, what cannot is named, and nothing else is lost with it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.cli.main import main
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.formats import read_masks
from fiftyone_plugin.formats.coco import id_to_rgb

from .conftest import read_folder

BOX = [[1, 1, 6, 1, 6, 6, 1, 6]]
CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]


def image(id_=1, name="a.jpg", **more):
    return {"id": id_, "file_name": name, "width": 8, "height": 8, **more}


def annotation(image_id=1, category_id=1, segmentation=BOX, **more):
    return {"id": 5, "image_id": image_id, "category_id": category_id, "segmentation": segmentation, **more}


@pytest.fixture
def read(tmp_path):
    """``read(images, annotations, categories)`` imports such a file; returns masks, and the result."""

    def read(images, annotations, categories=CATEGORIES):
        document = {"images": images, "annotations": annotations, "categories": categories}
        if categories is None:
            del document["categories"]
        (tmp_path / "x.json").write_text(json.dumps(document))
        result = read_masks(tmp_path / "x.json", tmp_path / "o", overwrite=True)
        return read_folder(tmp_path / "o" / "masks"), result

    return read


def losses(result):
    return {entry.key: entry.reason for entry in result.lost}


def expected(value=1):
    mask = np.zeros((8, 8), np.uint8)
    mask[1:6, 1:6] = value
    return mask


@pytest.mark.parametrize(
    ("image_id", "named"), [(1, 1), ("1", 1), (1, "1"), ("1", "1"), (1, 1.0), ("x", "x"), (2**50, str(2**50))]
)
@pytest.mark.parametrize(("category", "called"), [(1, 1), (1, "1"), ("1", 1), ("cat", "cat")])
def test_ids_are_numbers_or_texts(read, image_id, named, category, called):
    masks, result = read([image(image_id)], [annotation(named, called)], [{"id": category, "name": "cat"}])
    assert result.skipped == []
    np.testing.assert_array_equal(masks["a"], expected())


def test_a_number_and_a_text_may_be_two_ids(read):
    masks, result = read([image(1), image("1", "b.jpg")], [annotation(1, 1), annotation("1", 2)])
    assert result.skipped == []
    np.testing.assert_array_equal(masks["a"], expected(1))
    np.testing.assert_array_equal(masks["b"], expected(2))
    # of "1" and " 1" neither is 1
    _, result = read([image("1"), image(" 1", "b.jpg")], [annotation("1"), annotation(1)])
    assert losses(result) == {"annotation 5": "2 entries of the id 1 of its image"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (annotation(7), "no image of id 7"),
        (annotation(None), "no id of its image"),
        (annotation([1]), "[1] is no id of its image"),
        (annotation(1, 9), "no category of id 9"),
        (annotation(1, 1, None, bbox=[1, 1, 5, 5]), "a box without an outline"),
        (annotation(1, 1, []), "no outline"),
        (annotation(1, 1, [[1, 1, 2, 2]]), "it covers no pixel of the image"),
        (annotation(1, 1, [[50, 50, 60, 50, 60, 60]]), "it covers no pixel of the image"),
        (annotation(1, 1, [[1, 1, float("nan"), 1, 6, 6]]),
         "coordinates that are no numbers (NaN or infinite)"),
        (annotation(1, 1, {"size": [8, 8], "counts": [9]}),
         "a malformed RLE: its runs do not make up 8 x 8 pixels"),
        ({"image_id": 1, "category_id": 1}, "no outline"),
    ],
)  # fmt: skip
def test_a_bad_annotation_costs_itself(read, bad, reason):
    masks, result = read([image()], [annotation(1, 2), bad])
    np.testing.assert_array_equal(masks["a"], expected(2))
    assert list(losses(result).values()) == [reason]
    assert result.lost == result.skipped
    # alone it is an error, never an empty mask in silence
    with pytest.raises(PseudoMaskError, match=f"no mask of .*{re.escape(reason)}"):
        read([image()], [bad])


def test_images_of_one_id_and_of_one_file(read):
    masks, result = read(
        [image(1), image(1, "b.jpg"), image(2, "c.jpg"), image(3, "c.jpg"), image(4, "./c.jpg", width=9)],
        [annotation(1), annotation(2), annotation(3, 2, [[6, 6, 8, 6, 8, 8, 6, 8]]), annotation(4, id=6)],
    )
    both = expected()
    both[6:, 6:] = 2
    assert list(masks) == ["c"]
    np.testing.assert_array_equal(masks["c"], both)
    reasons = {entry.key: entry.reason for entry in result.skipped if entry not in result.lost}
    assert reasons["a"] == reasons["b"] == "2 images have its id 1"
    assert "another size" in reasons["./c.jpg"]
    assert sorted(losses(result).values()) == ["2 entries of the id 1 of its image", "no image of id 4"]


def test_categories_that_are_missing_double_or_without_a_name(read):
    masks, result = read([image()], [annotation(1, 7)], None)
    assert (result.names, result.skipped) == ({7: "class 7"}, [])
    np.testing.assert_array_equal(masks["a"], expected(7))
    double = [*CATEGORIES, {"id": 1, "name": "cat"}, {"id": 2, "name": "wolf"}, {"id": 3}, {"name": "x"}, 4]
    _, result = read([image()], [annotation(1, 1), annotation(1, 2)], double)
    assert sorted(result.names.values()) == ["cat", "class 3", "dog", "wolf"]
    assert [entry.reason for entry in result.skipped] == [
        "it has no id", "it has no id", "2 entries of the id 2 of its category",
    ]  # fmt: skip


def test_a_size_that_the_file_does_not_give(read, tmp_path):
    rle = {"size": [8, 8], "counts": [9, 5, 50]}
    bare = {"id": 1, "file_name": "a.jpg"}
    masks, _ = read([bare], [annotation(1, 1, rle)])
    assert masks["a"].shape == (8, 8)
    with pytest.raises(PseudoMaskError, match="its size is not known"):
        read([bare], [annotation()])
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 7)).save(tmp_path / "images" / "a.jpg")
    masks, _ = read([bare], [annotation()])
    assert masks["a"].shape == (7, 9)
    masks, _ = read([image(width="8", height=8.0)], [annotation()])
    assert masks["a"].shape == (8, 8)


def test_panoptic_segments_that_do_not_fit(read, tmp_path):
    segments = np.zeros((8, 8), int)
    segments[:4], segments[4:, :4], segments[4:, 4:] = 300, 70_000, 5
    (tmp_path / "x").mkdir()
    Image.fromarray(id_to_rgb(segments)).save(tmp_path / "x" / "a.png")
    info = [{"id": 300, "category_id": "2"}, {"id": 70_000, "category_id": 9}, {"id": 6, "category_id": 1}]
    entry = {"image_id": 1, "file_name": "a.png", "segments_info": info}
    masks, result = read([image()], [entry])
    assert (masks["a"] == np.where(segments == 300, 2, 0)).all()
    assert losses(result) == {
        "a.jpg, segment 70000": "no category of id 9",
        "a.jpg, segment 6": "it has no pixel in the PNG",
        "a.jpg, 1 segments of the PNG": "not described: 5",
    }
    for name in ("../a.png", "/a.png", "gone.png", None):
        _, result = read([image(), image(2, "b.jpg")], [{**entry, "file_name": name}])
        assert list(result.masks) == ["b"]


def test_the_command_counts_and_names_what_is_lost(tmp_path, capsys):
    document = {"images": [image()], "categories": CATEGORIES, "annotations": [annotation(), annotation(9)]}
    document["annotations"][1]["id"] = "\x1b[2J"
    (tmp_path / "x.json").write_text("\ufeff" + json.dumps(document), encoding="utf-8")
    assert main(["import", str(tmp_path / "x.json"), "--out", str(tmp_path / "o")]) == 3
    captured = capsys.readouterr()
    assert "skipped annotation \\x1b[2J: no image of id 9" in captured.err
    assert "1 masks, 2 classes, 1 skipped (1 annotations)" in captured.out
    assert json.loads((tmp_path / "o" / "export.json").read_text())["counts"]["annotations_lost"] == 1


def test_a_file_without_a_usable_image(read):
    with pytest.raises(
        UsageError, match="no usable image; first: entry 0 of the images: it has no file_name"
    ):
        read([{"id": 1}], [])
    with pytest.raises(UsageError, match="70,000 categories"):
        read([image()], [], [{"id": i} for i in range(70_000)])
