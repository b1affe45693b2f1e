"""Images that are not read, and are named for what they are."""

from __future__ import annotations

import struct
import sys
import types

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.images.reading import image_size, read_image

tifffile = pytest.importorskip("tifffile")  # comes with scikit-image

RNG = np.random.default_rng(0)
PICTURE = RNG.random((20, 30, 3))
COLOURS = {2: "minisblack", 3: "rgb"}
GREY = {"photometric": "minisblack", "planarconfig": "contig"}


def box(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(8) + brand + bytes(64)


def refused(path) -> str:
    with pytest.raises(ImageReadError) as of_size:
        image_size(path)
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert caught.value.reason == of_size.value.reason
    return caught.value.reason


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (PICTURE.astype(np.float32), {}, "32-bit float, 3 bands, uncompressed"),
        (PICTURE.astype(np.float32), {"bigtiff": True}, "32-bit float, 3 bands"),
        (PICTURE.astype(np.float32), {"byteorder": ">"}, "32-bit float, 3 bands"),
        (PICTURE.astype(np.float16), {"photometric": "rgb"}, "16-bit float, 3 bands"),
        (PICTURE[..., 0], {}, "64-bit float, 1 band"),
        (PICTURE[..., 0].astype(np.complex64), {}, "64-bit complex float, 1 band"),
        (RNG.integers(0, 255, (20, 30, 5), np.uint8), GREY, "8-bit unsigned, 5 bands"),
        (RNG.integers(0, 9, (20, 30, 12), np.int16), GREY, "16-bit signed, 12 bands"),
    ],
)
def test_tiff_of_other_numbers_and_bands(tmp_path, values, options, words):
    tifffile.imwrite(tmp_path / "a.tif", values, **({"photometric": COLOURS[values.ndim]} | options))
    reason = refused(tmp_path / "a.tif")
    assert words in reason
    assert "not supported, convert it to 8-bit RGB" in reason


def test_bands_that_lie_apart(tmp_path):
    bands = RNG.integers(0, 65535, (4, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", bands, planarconfig="separate", photometric="minisblack")
    with pytest.raises(ImageReadError, match="16-bit unsigned, 4 bands"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("length", [4, 9, 12, 40, 150])
def test_truncated_tiff_is_still_damage(tmp_path, length):
    tifffile.imwrite(tmp_path / "whole.tif", PICTURE.astype(np.float32), photometric="rgb")
    whole = (tmp_path / "whole.tif").read_bytes()
    start = struct.unpack_from("<I", whole, 4)[0]
    (tmp_path / "a.tif").write_bytes(whole[: start + 2] if length == 150 else whole[:length])
    assert "damaged or truncated" in refused(tmp_path / "a.tif") or length < 8


def test_directories_that_lead_anywhere_end(tmp_path):
    for number, offset in enumerate((0, 8, 2**31, 2**32 - 1)):
        path = tmp_path / f"{number}.tif"
        entries = struct.pack("<HHII", 258, 3, 2**32 - 1, offset) + struct.pack("<HHII", 256, 4, 4000, offset)
        path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 65535) + entries)
        refused(path)


@pytest.mark.parametrize("name", ["x.nef", "X.ARW", "x.cr2", "x.dng"])
def test_previews_in_raw_files_are_not_taken_for_the_photograph(tmp_path, name):
    tifffile.imwrite(tmp_path / name, (PICTURE * 255).astype(np.uint8))
    assert refused(tmp_path / name).startswith(f"{name[-3:].upper()}, a camera's RAW file: convert it")


def test_raw_files_by_their_content(tmp_path):
    tags = [(50706, 1, 4, (1, 4, 0, 0), True)]  # DNGVersion
    tifffile.imwrite(tmp_path / "a.tif", (PICTURE * 255).astype(np.uint8), extratags=tags)
    assert refused(tmp_path / "a.tif").startswith("DNG, a camera's RAW file")
    heads = {"a": box(b"crx "), "b.jpg": b"FUJIFILMCCD-RAW 0201" + bytes(99), "c": b"IIRO" + bytes(99)}
    for name, data in heads.items():
        (tmp_path / name).write_bytes(data)
        assert "camera's RAW file" in refused(tmp_path / name)


def test_a_photograph_with_the_extension_of_a_raw_file_is_read(tmp_path):
    Image.fromarray((PICTURE * 255).astype(np.uint8)).save(tmp_path / "a.nef", format="JPEG")
    assert read_image(tmp_path / "a.nef").shape == (20, 30, 3)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1"])
def test_heic_says_what_to_install(tmp_path, brand, monkeypatch):
    from fiftyone_plugin.images import foreign as foreign_images

    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    foreign_images.register_heif.cache_clear()
    (tmp_path / "IMG_0001.HEIC").write_bytes(box(brand))
    assert refused(tmp_path / "IMG_0001.HEIC").startswith("HEIC: install pillow-heif")
    foreign_images.register_heif.cache_clear()


def test_heic_is_registered_where_its_reader_is_installed(monkeypatch):
    from fiftyone_plugin.images import foreign as foreign_images

    calls = []
    reader = types.ModuleType("pillow_heif")
    reader.register_heif_opener = lambda: calls.append(1)
    monkeypatch.setitem(sys.modules, "pillow_heif", reader)
    foreign_images.register_heif.cache_clear()
    assert foreign_images.register_heif()
    assert foreign_images.register_heif()
    assert calls == [1]
    foreign_images.register_heif.cache_clear()
