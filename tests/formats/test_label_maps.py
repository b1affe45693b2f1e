"""Masks of CVAT and labelme: colours, indices, and the lists of classes beside them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.formats import read_masks

from .conftest import read_folder

ROWS = np.array([[0, 1], [1, 2]], np.uint8)
COLOURS = np.array([[0, 0, 0], [48, 112, 32], [176, 112, 32]], np.uint8)


@pytest.fixture
def voc(tmp_path):
    """``voc(image, text, name)`` imports a VOC folder with one mask and a list of classes."""

    def voc(image, text, name="labelmap.txt"):
        (tmp_path / "v" / "SegmentationClass").mkdir(parents=True)
        image.save(tmp_path / "v" / "SegmentationClass" / "a.png")
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "v" / name).write_bytes(data)
        result = read_masks(tmp_path / "v", tmp_path / "o")
        return read_folder(tmp_path / "o" / "masks")["a"].tolist(), result.names

    return voc


def indexed(palette=COLOURS):
    image = Image.fromarray(ROWS)
    image.putpalette(palette.tobytes())
    return image


FIRST = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:48,112,32::\ndog:176,112,32::\n"
LAST = "cat:48,112,32::\ndog: 176, 112, 32::\nbackground:0,0,0::\n"


@pytest.mark.parametrize("text", [FIRST, "\ufeff" + FIRST, FIRST.replace("\n", "\r\n"), LAST])
@pytest.mark.parametrize("kind", ["colours", "indices with colours"])
def test_masks_are_read_by_the_colours_of_the_label_map(voc, text, kind):
    image = Image.fromarray(COLOURS[ROWS]) if kind == "colours" else indexed()
    assert voc(image, text) == (ROWS.tolist(), {1: "cat", 2: "dog"})


def test_indices_are_rows_where_colours_are_others(voc):
    # the first row may be a class, and 255 is void
    image = Image.fromarray(np.array([[0, 1], [2, 255]], np.uint8))
    assert voc(image, "Cat:1,0,9::\nbackground:0,0,0::\nDog:2,0,9::\n") == (
        [[1, 0], [2, 0]],
        {1: "Cat", 2: "Dog"},
    )


def test_a_class_may_be_called_background_behind_the_background(voc):
    text = "background:0,0,0::\ncat:48,112,32::\nbackground:176,112,32::\n"
    assert voc(Image.fromarray(COLOURS[ROWS]), text) == (ROWS.tolist(), {1: "cat", 2: "background"})


def test_names_of_labelme(voc):
    image = indexed(np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], np.uint8))
    assert voc(image, "_background_\ncat\ndog\n", "class_names.txt") == (ROWS.tolist(), {1: "cat", 2: "dog"})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("background:0,0,0::\ncat:48,112,32::\n", "colours that are not in the label map: #b07020"),
        ("cat:48,112,32::\nstill cat:48,112,32::\ndog:176,112,32::\n", "not in the label map: #307020"),
    ],
)
def test_colours_of_no_class_or_of_two(voc, text, reason):
    with pytest.raises(PseudoMaskError, match=reason):
        voc(Image.fromarray(COLOURS[ROWS]), text)


def test_a_list_that_is_not_text(voc):
    with pytest.raises(UsageError, match=r"labelmap\.txt is not a list of classes: not UTF-8"):
        voc(indexed(), b"caf\xe9:1,2,3::\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_no_masks(tmp_path):
    (tmp_path / "m").mkdir()
    Image.fromarray(ROWS).save(tmp_path / "m" / "a.png")
    os.mkfifo(tmp_path / "m" / "labelmap.txt")
    assert list(read_masks(tmp_path / "m", tmp_path / "o").masks) == ["a"]


def test_grey_ids_saved_as_colours(tmp_path):
    (tmp_path / "m").mkdir()
    Image.fromarray(np.stack([ROWS] * 3, -1)).save(tmp_path / "m" / "a.png")
    Image.fromarray(COLOURS[ROWS]).save(tmp_path / "m" / "b.png")
    result = read_masks(tmp_path / "m", tmp_path / "o")
    assert read_folder(tmp_path / "o" / "masks")["a"].tolist() == ROWS.tolist()
    assert [entry.key for entry in result.skipped] == ["b"]
