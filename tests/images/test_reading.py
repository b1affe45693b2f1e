from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fiftyone_plugin.images.reading import (
    image_size,
    read_image,
)

from .reading_helpers import exif, needs_avif, png, save, trns

# index arrays, not Pillow: what each EXIF orientation asks a viewer to do, from the EXIF specification
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a[::-1].transpose(1, 0, 2),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm", "a.webp", "a.tga", "a.JPG"])
def test_plain_rgb(tmp_path, photo, name):
    path = save(tmp_path / name, photo, **({"lossless": True} if name == "a.webp" else {}))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert image_size(path) == image.shape[:2] == photo.shape[:2]
    if name == "a.JPG":
        assert np.abs(image.astype(int) - photo).mean() < 4
    else:
        assert np.array_equal(image, photo)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "jpg", "tif", pytest.param("avif", marks=needs_avif)])
def test_exif_orientation(tmp_path, photo, orientation, extension):
    stored = photo[:64, :48]
    path = tmp_path / f"a.{extension}"
    if extension == "tif":
        save(path, stored, tiffinfo={0x0112: orientation}, compression="tiff_lzw")
    else:
        save(path, stored, exif=exif(orientation), **({} if extension == "png" else {"quality": 95}))
    expected = UPRIGHT[orientation](stored)
    assert image_size(path) == expected.shape[:2]
    image = read_image(path)
    assert image.shape == expected.shape
    if extension in ("png", "tif"):
        assert np.array_equal(image, expected)
    else:
        assert np.abs(image.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_meaningless_orientation_is_ignored(tmp_path, photo, orientation):
    path = save(tmp_path / "a.png", photo, exif=exif(orientation))
    assert np.array_equal(read_image(path), photo)


def test_damaged_exif_is_ignored_quietly(tmp_path, photo, capfd):
    for junk in (b"Exif\x00\x00MM\x00*\x00\x00\xff\xffgarbage", b"Exif\x00\x00", b"Exif\x00\x00nonsense"):
        path = save(tmp_path / "a.jpg", photo, exif=junk)
        assert image_size(path) == photo.shape[:2]
        assert read_image(path).shape == photo.shape
    assert capfd.readouterr().err == ""


def test_orientation_that_browsers_do_not_honour_is_ignored(tmp_path, photo):
    """XMP, raw profiles and WebP: Chromium shows these files as they are stored."""
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    text, raw = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", xmp)
    raw.add_text("Raw profile type exif", f"\nexif\n{len(exif(6)):8}\n{exif(6).hex()}\n", zip=True)
    paths = [
        save(tmp_path / "xmp.png", photo, pnginfo=text),
        save(tmp_path / "raw.png", photo, pnginfo=raw),
        save(tmp_path / "a.webp", photo, exif=exif(6), lossless=True),
    ]
    for path in paths:
        with Image.open(path) as opened:
            assert opened.getexif().get(0x0112) == 6
        assert image_size(path) == photo.shape[:2]
        assert np.array_equal(read_image(path), photo)


def test_grey_and_one_bit(tmp_path, photo):
    grey = photo[..., 1]
    assert np.array_equal(read_image(save(tmp_path / "l.png", grey)), np.stack([grey] * 3, -1))
    bits = grey > 100
    expected = np.repeat(bits[..., None], 3, -1) * np.uint8(255)
    assert np.array_equal(read_image(save(tmp_path / "1.png", Image.fromarray(bits))), expected)
    assert np.array_equal(read_image(save(tmp_path / "1.tif", Image.fromarray(bits))), expected)


def test_two_and_four_bit_grey_use_the_full_range(tmp_path):
    (tmp_path / "2.png").write_bytes(png(4, 1, 2, 0, b"\x00" + bytes([0b00011011])))
    (tmp_path / "4.png").write_bytes(png(2, 1, 4, 0, b"\x00" + bytes([0x0F])))
    assert read_image(tmp_path / "2.png")[0, :, 0].tolist() == [0, 85, 170, 255]
    assert read_image(tmp_path / "4.png")[0, :, 0].tolist() == [0, 255]


def test_cmyk_jpeg(tmp_path):
    ink = np.array([[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [200, 30, 60, 90]], np.uint8)
    cmyk = Image.fromarray(np.repeat(np.repeat(ink[None], 16, 0), 16, 1), "CMYK")
    image = read_image(save(tmp_path / "a.jpg", cmyk, quality=100, subsampling=0)).astype(int)
    c, m, y, k = ink.astype(float).T
    expected = np.stack([(255 - x) * (255 - k) / 255 for x in (c, m, y)], -1)
    assert np.abs(image[8, 8::16] - expected).max() <= 3


SIXTEEN = np.array([[0, 255, 256, 32767, 32768, 65280, 65535, 1000]], np.uint16)
HIGH_BYTE = [0, 0, 1, 127, 128, 255, 255, 3]  # what Chromium 156 shows for these values


def test_16_bit_grey_keeps_the_high_byte(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 8 1 65535\n" + SIXTEEN.astype(">u2").tobytes())
    for path in (
        save(tmp_path / "a.png", SIXTEEN),
        save(tmp_path / "a.tif", SIXTEEN),
        save(tmp_path / "lzw.tif", SIXTEEN, compression="tiff_lzw"),
        tmp_path / "a.pgm",
    ):
        image = read_image(path)
        assert image.shape == (1, 8, 3)
        assert image[0].tolist() == [[v] * 3 for v in HIGH_BYTE], path.name


def test_big_endian_16_bit_tiff(tmp_path):
    values = SIXTEEN.astype(">u2").tobytes()
    entries = [(256, 3, 8), (257, 3, 1), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 3, 1)]
    entries.append((279, 4, len(values)))
    ifd = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        ifd += struct.pack(">HHI", tag, kind, 1) + (
            struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        )
    body = b"MM\x00*" + struct.pack(">I", 8 + len(values)) + values + ifd + b"\x00" * 4
    (tmp_path / "a.tif").write_bytes(body)
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == HIGH_BYTE


def test_16_bit_rgb_png_keeps_the_high_byte(tmp_path):
    rows = b"\x00" + np.repeat(SIXTEEN[0], 3).astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(png(8, 1, 16, 2, rows))
    assert read_image(tmp_path / "a.png")[0].tolist() == [[v] * 3 for v in HIGH_BYTE]


def test_32_bit_integers_are_stretched(tmp_path):
    path = save(tmp_path / "a.tif", np.array([[-100, 0, 100, 155]], np.int32))
    with Image.open(path) as opened:
        assert opened.mode == "I"
    assert read_image(path)[0, :, 0].tolist() == [0, 100, 200, 255]


def test_floats(tmp_path):
    unit = save(tmp_path / "unit.tif", np.array([[0.25, 0.5, 0.75]], np.float32))
    wide = save(tmp_path / "wide.tif", np.array([[-10, np.nan, 0, np.inf, 10]], np.float32))
    flat = save(tmp_path / "flat.tif", np.full((2, 2), 7, np.float32))
    none = save(tmp_path / "none.tif", np.full((2, 2), np.nan, np.float32))
    assert read_image(unit)[0, :, 0].tolist() == [64, 128, 191]
    assert read_image(wide)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert not read_image(flat).any()
    assert not read_image(none).any()


def test_transparency_is_composited_over_white(tmp_path, photo):
    alpha = np.linspace(0, 255, photo[..., 0].size).reshape(photo.shape[:2]).astype(np.uint8)
    a = alpha[..., None] / 255
    rgba = save(tmp_path / "rgba.png", np.dstack([photo, alpha]))
    la = save(tmp_path / "la.png", Image.fromarray(np.dstack([photo[..., 0], alpha]), "LA"))
    assert np.abs(read_image(rgba) - (photo * a + 255 * (1 - a))).max() <= 1
    assert np.abs(read_image(la) - (photo[..., :1] * a + 255 * (1 - a))).max() <= 1


def test_palette_transparency(tmp_path):
    palette = Image.new("P", (3, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.putdata([0, 1, 2])
    opaque = save(tmp_path / "opaque.png", palette)
    table = save(tmp_path / "table.png", palette, transparency=bytes([255, 0, 128]))
    key = save(tmp_path / "key.gif", palette, transparency=1)
    assert read_image(opaque)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert read_image(table)[0].tolist() == [[255, 0, 0], [255, 255, 255], [127, 127, 255]]
    assert read_image(key)[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


def test_colour_keys(tmp_path):
    (tmp_path / "rgb.png").write_bytes(
        png(2, 1, 8, 2, b"\x00\x01\x02\x03\x04\x05\x06", trns(struct.pack(">HHH", 1, 2, 3)))
    )
    (tmp_path / "l.png").write_bytes(png(2, 1, 8, 0, b"\x00\x01\x02", trns(struct.pack(">H", 1))))
    (tmp_path / "16.png").write_bytes(
        png(2, 1, 16, 0, b"\x00\x01\x00\x01\x01", trns(struct.pack(">H", 0x0101)))
    )
    (tmp_path / "1.png").write_bytes(png(2, 1, 1, 0, b"\x00" + bytes([0b01000000]), trns(b"\x00\x00")))
    assert read_image(tmp_path / "rgb.png")[0].tolist() == [[255, 255, 255], [4, 5, 6]]
    assert read_image(tmp_path / "l.png")[0].tolist() == [[255] * 3, [2] * 3]
    assert read_image(tmp_path / "16.png")[0].tolist() == [[1] * 3, [255] * 3]
    assert read_image(tmp_path / "1.png")[0].tolist() == [[255] * 3, [255] * 3]


@pytest.mark.parametrize("extension", ["gif", "png", "webp", "tif"])
def test_of_an_animation_the_first_frame(tmp_path, extension):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if extension == "webp" else {}
    path = tmp_path / f"a.{extension}"
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as opened:
        assert opened.n_frames == 3
    assert np.array_equal(read_image(path), np.array(frames[0]))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 30_000, 3), (30_000, 2, 3)])
def test_extreme_shapes(tmp_path, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = save(tmp_path / "a.png", array)
    assert image_size(path) == shape[:2]
    assert np.array_equal(read_image(path), array)
