"""Small copies against Pillow's own reduction of the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.images.reading import read_image, read_reduced, resize_image


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_jpeg_is_decoded_at_a_fraction_no_smaller_than_asked_for(photos, tmp_path, orientation):
    with Image.open(photos / "coffee.jpg") as image:  # 600 x 400
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(tmp_path / "photo.jpg", quality=95, exif=exif)
    whole = read_image(tmp_path / "photo.jpg")
    height, width = whole.shape[:2]
    for fraction, expected in ((1, 1), (2, 2), (3, 2), (5, 4), (100, 8)):
        small, native = read_reduced(tmp_path / "photo.jpg", height // fraction, width // fraction)
        assert native == (height, width)
        assert small.shape == (height // expected, width // expected, 3)
        reference = resize_image(whole, *small.shape[:2])
        assert np.abs(small.astype(int) - reference).mean() < 4  # of 255; another filter


def test_other_formats_are_read_as_they_are(photos):
    small, native = read_reduced(photos / "camera.png", 10, 10)
    assert native == small.shape[:2]
    np.testing.assert_array_equal(small, read_image(photos / "camera.png"))


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(ImageReadError):
        read_reduced(tmp_path / "nothing.jpg", 1, 1)
