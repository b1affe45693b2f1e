"""What every kind of mask file becomes; the expected ids are written down, not computed by the reader."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib

import fsspec
import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.masks.files import NotAMaskError, mask_ids, read_colours, read_mask, write_mask
from fiftyone_plugin.masks.rules import FIFTYONE, IDS, MaskRules

VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
COLOUR_TARGETS = MaskRules.of({"#800000": "aeroplane", "#008000": "bicycle"})
INDEXED = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)


def png(path, header, rows, *, palette=b""):
    """Write a PNG of any kind by hand: ``header`` is width, height, depth, colour type; rows are packed."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    image = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))]
    parts += [chunk(b"PLTE", palette)] if palette else []
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", image), chunk(b"IEND", b"")]))
    return path


def indexed(path, indices, palette):
    image = Image.fromarray(np.asarray(indices, np.uint8))
    image.putpalette(palette)
    image.save(path)
    return path


def ids(path, rules=IDS):
    mask = read_mask(path, rules)
    assert mask.ndim == 2
    assert mask.dtype in (np.uint8, np.uint16, np.uint32)
    return mask.tolist()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_a_palette_gives_indices_and_colours_where_colours_are_meant(tmp_path, suffix):
    path = indexed(tmp_path / f"m.{suffix}", INDEXED, VOC)
    assert ids(path) == ids(path, FIFTYONE) == INDEXED.tolist()
    assert ids(path, COLOUR_TARGETS) == [[0, 0x800000, 0x8000], [0x8000, 0x800000, 0]]
    # names that are ids do not turn indices into anything else
    assert ids(path, MaskRules.of({0: "none", 128: "x"})) == INDEXED.tolist()


def test_the_grey_levels_of_an_optimised_palette_are_the_ids(tmp_path):
    path = indexed(tmp_path / "m.png", INDEXED, [40, 40, 40, 7, 7, 7, 200, 200, 200])
    assert ids(path) == ids(path, FIFTYONE) == [[40, 7, 200], [200, 7, 40]]
    # one with the indices of its greys is what it seems
    assert ids(indexed(tmp_path / "n.png", INDEXED, [0, 0, 0, 1, 1, 1, 2, 2, 2])) == INDEXED.tolist()


def test_voc_black_and_grey_stay_indices(tmp_path):
    """VOC's class 7 is grey: an image of background and class 7 is no grey palette."""
    voc = [*VOC, 0, 0, 128, 128, 0, 128, 0, 128, 128, 128, 128, 128]
    assert ids(indexed(tmp_path / "m.png", [[0, 7]], voc)) == [[0, 7]]


def test_black_and_white_palettes_are_0_and_1_unless_the_names_say_255(tmp_path):
    path = indexed(tmp_path / "m.png", [[0, 1]], [0, 0, 0, 255, 255, 255])
    assert ids(path) == [[0, 1]]
    assert ids(path, MaskRules.of({0: "background", 1: "object"})) == [[0, 1]]
    assert ids(path, MaskRules.of({0: "background", 255: "object"})) == [[0, 255]]
    # names decide between indices and greys
    grey = indexed(tmp_path / "g.png", INDEXED, [0, 0, 0, 127, 127, 127, 255, 255, 255])
    assert ids(grey, MaskRules.of({1: "cat", 2: "dog"})) == INDEXED.tolist()


def test_one_bit_files(tmp_path):
    bits = np.array([[0, 1], [1, 1]])
    for suffix in ("png", "bmp", "tif"):
        path = tmp_path / f"m.{suffix}"
        Image.fromarray(bits.astype(bool)).save(path)
        assert ids(path) == ids(path, FIFTYONE) == bits.tolist()
        assert ids(path, MaskRules.of({255: "object"})) == (bits * 255).tolist()
        assert ids(path, MaskRules.of({"#ffffff": "object"})) == (bits * 0xFFFFFF).tolist()


def test_two_and_four_bit_grey_files(tmp_path):
    two = png(tmp_path / "two.png", (4, 1, 2, 0), [bytes([0b00_01_10_11])])
    assert ids(two) == [[0, 85, 170, 255]]
    assert ids(two, MaskRules.of({1: "a", 2: "b", 3: "c"})) == [[0, 1, 2, 3]]
    four = png(tmp_path / "four.png", (2, 1, 4, 0), [bytes([0x2F])])
    assert ids(four) == [[34, 255]]
    assert ids(four, MaskRules.of({2: "a", 15: "b"})) == [[2, 15]]


def test_grey_files_with_colours_for_targets(tmp_path):
    Image.fromarray(np.array([[0, 128]], np.uint8)).save(tmp_path / "m.png")
    assert ids(tmp_path / "m.png", MaskRules.of({"#808080": "road", "#ff0000": "car"})) == [[0, 0x808080]]
    # a 16-bit file holds the numbers of colours no more than it holds greys
    Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "n.png")
    assert ids(tmp_path / "n.png", COLOUR_TARGETS) == [[0, 300]]


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_grey_under_colours_is_ids_and_colours_are_refused_or_meant(tmp_path, mode, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    grey = np.stack([INDEXED] * 3 + ([np.full_like(INDEXED, 255)] if mode == "RGBA" else []), -1)
    Image.fromarray(grey, mode=None).save(tmp_path / f"grey.{suffix}", **options)
    assert ids(tmp_path / f"grey.{suffix}") == ids(tmp_path / f"grey.{suffix}", FIFTYONE) == INDEXED.tolist()
    colours = grey.copy()
    colours[0, 0, :3] = 1, 2, 3
    Image.fromarray(colours).save(tmp_path / f"colours.{suffix}", **options)
    with pytest.raises(ImageReadError, match="not a mask of class ids: it holds colours"):
        read_mask(tmp_path / f"colours.{suffix}")
    for rules in (FIFTYONE, COLOUR_TARGETS):
        assert ids(tmp_path / f"colours.{suffix}", rules)[0] == [0x010203, 0x010101, 0x020202]
    np.testing.assert_array_equal(read_colours(tmp_path / f"colours.{suffix}"), colours[:, :, :3])


def test_grey_and_alpha(tmp_path):
    pair = np.stack([INDEXED, INDEXED * 100], -1)
    Image.fromarray(pair).save(tmp_path / "m.png")
    assert Image.open(tmp_path / "m.png").mode == "LA"
    assert ids(tmp_path / "m.png") == INDEXED.tolist()
    pair[:, :, 0] = 0
    Image.fromarray(pair).save(tmp_path / "m.png")
    with pytest.raises(ImageReadError, match="only its alpha channel holds anything"):
        read_mask(tmp_path / "m.png")


def test_wide_integers(tmp_path):
    wide = np.array([[0, 70_000], [255, 0xFFFFFF]])
    Image.fromarray(wide.astype(np.int32)).save(tmp_path / "m.tif")
    assert ids(tmp_path / "m.tif") == wide.tolist()
    for name, values in (("negative", [[-1, 3]]), ("huge", [[0, 0x1000000]])):
        Image.fromarray(np.array(values, np.int32)).save(tmp_path / f"{name}.tif")
        with pytest.raises(ImageReadError, match=r"not within 0\.\.16,777,215"):
            read_mask(tmp_path / f"{name}.tif")
    Image.fromarray(np.array([[0.0, 1.5]], np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ImageReadError, match="it holds floats"):
        read_mask(tmp_path / "f.tif")
    deep = png(tmp_path / "deep.png", (1, 1, 16, 2), [b"\0\1\0\1\0\1"])
    with pytest.raises(ImageReadError, match="16 bits a channel"):
        read_mask(deep)


def test_formats_that_change_ids_are_refused_whatever_their_name(tmp_path):
    image = Image.fromarray(INDEXED)
    files = {
        "JPEG changes ids; save masks as PNG": ("JPEG", {}),
        "lossy WebP changes ids": ("WEBP", {}),
        "JPEG 2000 changes ids": ("JPEG2000", {}),
        "GIF renumbers ids": ("GIF", {}),
        "a TIFF compressed as JPEG": ("TIFF", {"compression": "jpeg"}),
    }
    for words, (kind, options) in files.items():
        image.save(tmp_path / "m.png", format=kind, **options)
        with pytest.raises(ImageReadError, match=words):
            read_mask(tmp_path / "m.png", FIFTYONE)
    # and a PNG is one under any name
    image.save(tmp_path / "m.jpg", format="PNG")
    assert ids(tmp_path / "m.jpg") == INDEXED.tolist()


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_in_a_store_is_told_lossless_from_lossy(lossless):
    content = io.BytesIO()
    Image.fromarray(np.repeat(INDEXED[:, :, None], 3, axis=2)).save(content, "WEBP", lossless=lossless)
    fsspec.filesystem("memory").pipe_file(f"/masks/{lossless}.webp", content.getvalue())
    if lossless:
        assert ids(f"memory://masks/{lossless}.webp", FIFTYONE) == INDEXED.tolist()
    else:
        with pytest.raises(NotAMaskError, match="lossy WebP changes ids"):
            read_mask(f"memory://masks/{lossless}.webp")


def test_ghostscript_never_runs(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript runs"))
    Image.new("L", (8, 8)).save(tmp_path / "a.png", format="EPS")
    for read in (read_mask, read_colours):
        with pytest.raises(ImageReadError, match="not an image in a known format"):
            read(tmp_path / "a.png")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    (tmp_path / "folder.png").mkdir()
    paths = {"folder.png": "is a folder", "none.png": "no such file", "nul\0.png": "not a usable file name"}
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        paths["pipe.png"] = "not a regular file"
    for name, words in paths.items():
        failed = []

        def read(name=name, failed=failed):
            try:
                read_mask(tmp_path / name)
            except ImageReadError as error:
                failed.append(error.reason)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), f"{name!r} hangs"
        assert words in failed[0]


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (10, 178_956_970), (2**31 - 1, 2**31 - 1)])
def test_size_is_bounded_before_anything_is_decoded(tmp_path, width, height):
    path = png(tmp_path / "m.png", (width, height, 8, 0), [b"\0" * 10])
    for read in (read_mask, read_colours):
        with pytest.raises(ImageReadError, match=r"cannot be read as a mask \(too large"):
            read(path)
    Image.fromarray(INDEXED).save(tmp_path / "s.png")
    with pytest.raises(ImageReadError, match="more than 5 pixels"):
        read_mask(tmp_path / "s.png", max_pixels=5)


def test_truncated_and_empty_files(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 9, (64, 64), dtype=np.uint8)).save(tmp_path / "m.png")
    whole = (tmp_path / "m.png").read_bytes()
    for size in (0, 8, 20, 33, 60, len(whole) // 2, len(whole) - 30):
        (tmp_path / "m.png").write_bytes(whole[:size])
        with pytest.raises(ImageReadError):
            read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("highest", [1, 255, 256, 65_535])
def test_what_is_written_is_read(tmp_path, highest):
    mask = np.random.default_rng(highest).integers(0, highest + 1, (31, 17))
    write_mask(tmp_path / "m.png", mask)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


def test_masks_in_memory():
    colours = np.array([[[1, 2, 3], [0, 0, 0]]], np.uint8)
    assert mask_ids(np.array([[True, False]])).tolist() == [[1, 0]]
    assert mask_ids(np.array([[[4], [70_000]]])).tolist() == [[4, 70_000]]
    assert mask_ids(colours).tolist() == [[0x010203, 0]]
    assert mask_ids(colours, MaskRules.of({"#010203": "sky"})).tolist() == [[0x010203, 0]]
    with pytest.raises(ImageReadError, match="the label: not a mask of class ids: it holds colours"):
        mask_ids(colours, IDS, "the label")
    for wrong in (np.zeros((2, 3)), np.zeros((2, 3, 2), int), np.zeros(3, int), np.zeros((0, 3), int)):
        with pytest.raises(ImageReadError):
            mask_ids(wrong)
