"""Masks that a person hands over: which image they belong to, and what is refused or left out, in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.masks.files import write_mask
from fiftyone_plugin.runs.labels import given_labels, read_labels

SIZE = (40, 60)  # height and width


@pytest.fixture
def images(tmp_path) -> list:
    for name in ("a.jpg", "b.jpg", "sub/c.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], "red").save(path)
    return list_images(tmp_path / "images")


@pytest.fixture
def masks(tmp_path) -> Path:
    return tmp_path / "masks"


def halves(low: int = 1, high: int = 2, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.full(size, low, np.uint16)
    mask[:, size[1] // 2 :] = high
    return mask


def test_masks_pair_by_path_and_the_others_are_listed(images, masks):
    write_mask(masks / "a.png", halves())
    write_mask(masks / "sub" / "c.png.png", halves(2, 5))
    write_mask(masks / "nobody.png", halves())
    found = read_labels(images, masks, names={1: "sky", 2: "sea", 5: "sun", 9: "unused"})
    assert found.masks == {"a.jpg": masks / "a.png", "sub/c.png": masks / "sub" / "c.png.png"}
    assert found.names == {1: "sky", 2: "sea", 5: "sun"}
    assert [str(one) for one in found.skipped] == ["nobody: no image of this name"]
    assert np.array_equal(found.mask("a.jpg"), halves())


def test_bad_masks_are_left_out_with_their_reasons(images, masks):
    write_mask(masks / "a.png", halves())
    write_mask(masks / "b.png", halves(size=(40, 61)))
    (masks / "sub").mkdir()
    (masks / "sub" / "c.png").write_bytes((masks / "a.png").read_bytes()[:60])
    found = read_labels(images, masks)
    assert list(found.masks) == ["a.jpg"]
    assert found.names == {1: "class 1", 2: "class 2"}
    reasons = {one.key: one.reason for one in found.skipped}
    assert reasons["b.jpg"] == "its mask is 61 x 40 and the image 60 x 40 pixels"
    assert "cannot be read as a mask" in reasons["sub/c.png"]


def test_an_image_that_cannot_be_read_is_left_out(images, masks):
    write_mask(masks / "a.png", halves())
    write_mask(masks / "b.png", halves())
    Path(images[0].path).write_bytes(b"no image")
    found = read_labels(images, masks)
    assert list(found.masks) == ["b.jpg"]
    assert found.skipped[0].key == "a.jpg"


@pytest.mark.parametrize(
    ("mask", "how", "words"),
    [
        (halves(0, 255), {}, "its mask labels nothing"),
        (halves(0, 4), {}, "show one class, 4: label a second one; if 0 is a class too, say --ignore 255"),
        (halves(3, 3), {"ignore": []}, "show one class, 3: label a second one$"),
        (halves(1, 7), {"names": {1: "sky"}}, "ids 7 in the masks .* have no name"),
        (halves(size=(9, 9)), {}, "9 x 9 and the image 60 x 40"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(images, masks, mask, how, words):
    write_mask(masks / "a.png", mask)
    with pytest.raises(UsageError, match=words):
        read_labels(images, masks, **how)


def test_zero_is_a_class_where_it_is_not_ignored(images, masks):
    write_mask(masks / "a.png", halves(0, 4))
    assert read_labels(images, masks, ignore=[255]).names == {0: "class 0", 4: "class 4"}


def test_no_folder_no_masks_no_image_two_masks(images, masks, tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_labels(images, masks)
    masks.mkdir()
    with pytest.raises(UsageError, match="no masks"):
        read_labels(images, masks)
    write_mask(masks / "x.png", halves())
    with pytest.raises(UsageError, match=r"no mask in .* has the name of an image"):
        read_labels(images, masks)
    write_mask(masks / "a.png", halves())
    Image.fromarray(halves().astype(np.uint8)).save(masks / "a.bmp")
    with pytest.raises(UsageError, match="masks of the same image; remove one"):
        read_labels(images, masks)
    with pytest.raises(UsageError, match="give labels too"):
        given_labels(images, None, None, (0, 255), 3)


def test_a_class_of_three_pixels_is_told_of(images, masks, caplog):
    mask = halves()
    mask[0, :3] = 9
    write_mask(masks / "a.png", mask)
    assert 9 in read_labels(images, masks).names
    assert "class 9 has only 3 labelled pixels" in caplog.text


def test_what_is_learnt_from_has_a_digest_of_its_own(images, masks, tmp_path):
    write_mask(masks / "a.png", halves())
    (tmp_path / "classes.json").write_text(json.dumps({"1": "sky", "2": "sea"}))
    first = read_labels(images, masks)
    assert read_labels(images, {"a.jpg": halves()}).sha256 == first.sha256
    others = [
        read_labels(images, masks, names=tmp_path / "classes.json"),
        read_labels(images, masks, discover=1),
        read_labels(images, {"a.jpg": halves(2, 1)}),
        read_labels(images, {"b.jpg": halves()}),
    ]
    assert len({first.sha256, *(one.sha256 for one in others)}) == 5
