"""Overlays and the contact sheet, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin.images.drawing import contact_sheet, overlay
from fiftyone_plugin.images.palette import COLOUR_BLIND, class_color, hex_color, is_class_color


@pytest.mark.parametrize(("classes", "least"), [(20, 15), (60, 9)])
def test_colours_are_far_apart(classes, least):
    """By CIEDE2000, of which a difference of 2.3 is just seen; white, black and the next ones included."""
    color = pytest.importorskip("skimage.color")
    colours = np.array([class_color(i) for i in range(1, classes + 1)], float)
    lab = color.rgb2lab(np.vstack([colours, [[0, 0, 0], [255, 255, 255]]])[None] / 255)[0]
    distance = color.deltaE_ciede2000(lab[:, None], lab[None]) + 1e3 * np.eye(len(lab))
    assert distance[:classes].min() > least


#: Protanopia and deuteranopia as Machado et al. (2009) simulate them at severity 1, on linear RGB.
BLIND = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize(("classes", "least"), [(8, 19), (20, 11), (60, 5.9)])
def test_colours_are_far_apart_to_colour_blind_eyes(classes, least):
    """By CIEDE2000, to usual eyes and to those without one kind of cones."""
    color = pytest.importorskip("skimage.color")
    names = [hex_color(i, COLOUR_BLIND) for i in range(1, classes + 1)]
    colours = np.array([[int(name[i : i + 2], 16) for i in (1, 3, 5)] for name in names]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    for matrix in (np.eye(3), *map(np.array, BLIND.values())):
        seen = np.clip(linear @ matrix.T, 0, 1)
        seen = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
        lab = color.rgb2lab(seen[None])[0]
        distance = color.deltaE_ciede2000(lab[:, None], lab[None]) + 1e3 * np.eye(classes)
        assert distance.min() > least


def test_colours_of_ids():
    assert len({class_color(i) for i in range(1, 257)}) == 256
    assert is_class_color(hex_color(7).upper())
    assert not is_class_color("#123456")
    assert all(is_class_color(hex_color(i, COLOUR_BLIND)) for i in range(1, 61))
    assert hex_color(1) == "#{:02x}{:02x}{:02x}".format(*class_color(1))
    assert class_color(65_535) == class_color(65_535)


def test_overlay_leaves_background_and_blends_classes():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mask = np.zeros((20, 30), np.uint16)
    mask[5:15, 5:20] = 300
    mask[5:15, 20:25] = 2
    for alpha in (0.55, 1.0):
        found = overlay(image, mask, alpha=alpha)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[mask == 0], image[mask == 0])
        for label, inner in ((300, np.s_[6:14, 6:19]), (2, np.s_[6:14, 21:24])):
            expected = (1 - alpha) * image[inner] + alpha * np.array(class_color(label))
            np.testing.assert_allclose(found[inner], expected, atol=1)
        # the outline lies inside the classes, on all sides
        for y, x in ((5, 10), (14, 10), (10, 5), (10, 24), (10, 19), (10, 20)):
            label = int(mask[y, x])
            expected = 0.4 * ((1 - alpha) * image[y, x] + alpha * np.array(class_color(label)))
            np.testing.assert_allclose(found[y, x], expected, atol=1)


def test_overlay_of_nothing_is_the_image():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(image, np.zeros((4, 6), np.uint8)), image)


@pytest.mark.parametrize("shape", [(1, 1), (300, 1), (1, 300), (60, 90)])
def test_sheet_of_any_shape(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    sheet = contact_sheet([("odd.png", image, np.ones(shape, np.uint8))], {1: "class 1"}, "title")
    assert sheet.mode == "RGB"
    assert min(sheet.size) > 100


def test_sheet_shows_photo_and_overlay_side_by_side():
    photo = np.zeros((172, 230, 3), np.uint8)
    photo[..., 2] = 200
    mask = np.zeros((172, 230), np.uint16)
    mask[50:100, 50:150] = 7
    sheet = np.asarray(contact_sheet([("a.jpg", photo, mask)] * 4, {7: "boat"}, "run"))
    rows, columns = np.nonzero((sheet == [0, 0, 200]).all(-1))
    top, left = rows.min(), columns.min()
    np.testing.assert_array_equal(sheet[top : top + 172, left : left + 230], photo)
    np.testing.assert_array_equal(
        sheet[top : top + 172, left + 234 : left + 464], overlay(photo, mask.astype(np.int32))
    )
    # the legend has the colour of every class that occurs, above the pictures
    assert (sheet[:top] == class_color(7)).all(-1).sum() > 100


def test_sheet_takes_images_one_at_a_time():
    alive = []

    class Big(np.ndarray):
        def __del__(self):
            if self.base is None:
                alive.remove(id(self))

    def pairs():
        for i in range(5):
            image = Big((400, 400, 3), np.uint8)
            alive.append(id(image))
            assert len(alive) <= 2
            yield f"{i}.jpg", image, np.zeros((400, 400), np.uint8)

    contact_sheet(pairs(), {}, "title")


def test_sheet_of_nothing_and_of_many_classes():
    assert contact_sheet([], {}, "nothing").size[0] >= 640
    mask = np.arange(1, 101).reshape(10, 10)
    sheet = contact_sheet([("many.png", np.zeros((10, 10, 3), np.uint8), mask)], {}, "many")
    for label in (1, 50, 100):
        assert (np.asarray(sheet) == class_color(label)).all(-1).any()


def test_sheet_with_odd_captions():
    image, mask = np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), np.uint8)
    captions = ["x" * 500, "日本語.jpg", "caf\udce9.jpg", "a\nb.jpg", ""]
    sheet = contact_sheet([(text, image, mask) for text in captions], {1: "名前 " * 40}, "title\ud800")
    assert (np.asarray(sheet) == class_color(1)).all(-1).any()
