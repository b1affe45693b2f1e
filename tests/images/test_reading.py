from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin
from skimage import data as photos
from skimage.transform import resize as skimage_resize

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.images.reading import (
    MAX_PIXELS,
    file_digest,
    image_extensions,
    image_size,
    read_image,
    resize_image,
)

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


needs_avif = pytest.mark.skipif(
    ".avif" not in Image.registered_extensions(), reason="this Pillow reads no AVIF"
)
AVIF = pytest.param("AVIF", {}, marks=needs_avif)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return photos.chelsea()[:120, :90]


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def save(path: Path, array: np.ndarray | Image.Image, **options) -> Path:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    image.save(path, **options)
    return path


def reason(path) -> str:
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert caught.value.path == str(path)
    return caught.value.reason


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand, for what Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def trns(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + b"tRNS" + body + struct.pack(">I", zlib.crc32(b"tRNS" + body))


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


def test_not_there_not_a_file_not_an_image(tmp_path, photo):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello, this is no image " * 100)
    (tmp_path / "noise.png").write_bytes(np.random.default_rng(0).bytes(5000))
    os.symlink(tmp_path / "loop.png", tmp_path / "loop.png")
    file = save(tmp_path / "a.png", photo)
    assert reason(tmp_path / "missing.jpg") == "no such file"
    assert reason(file / "below-a-file.png") == "no such file"
    assert reason(tmp_path) == "is a folder, not a file"
    assert reason(tmp_path / "empty.jpg") == "empty file"
    assert reason(tmp_path / "text.jpg") == "not an image in a known format"
    assert reason(tmp_path / "noise.png") == "not an image in a known format"
    assert reason(tmp_path / "loop.png").startswith("cannot be read")
    assert reason("nul\0byte.png").startswith("not a usable file name")
    for path in (tmp_path / "missing.jpg", tmp_path, tmp_path / "empty.jpg"):
        with pytest.raises(ImageReadError):
            file_digest(path)
        with pytest.raises(ImageReadError):
            image_size(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert reason(tmp_path / "pipe.png") == "not a regular file"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_permission_denied(tmp_path, photo):
    path = save(tmp_path / "a.png", photo)
    path.chmod(0)
    if os.geteuid() != 0:
        assert reason(path) == "permission denied"
        return
    # root may read everything: ask as somebody else
    code = (
        "import os, sys\nfrom fiftyone_plugin.images import reading as images\n"
        "from fiftyone_plugin.errors import ImageReadError\n"
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "try: images.read_image('a.png')\n"
        "except ImageReadError as error: print(error.reason)"
    )
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("permission denied\n", "")


LOSSY = [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {}), AVIF, ("JPEG2000", {})]
EXACT = [
    ("PNG", {}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("PPM", {}),
]


@pytest.mark.parametrize(("name", "options"), LOSSY + EXACT)
def test_truncated(tmp_path, photo, name, options, capfd):
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, name, **options)
    whole = stream.getvalue()
    for part in (0.1, 0.5, 0.9):
        path = tmp_path / "a.bin"
        path.write_bytes(whole[: int(len(whole) * part)])
        assert "truncated" in reason(path)
    if name in ("JPEG", "PNG", "BMP"):
        assert reason(path) == "truncated file"
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "options"), LOSSY + EXACT)
def test_flipped_bytes_raise_nothing_else_and_print_nothing(tmp_path, photo, name, options, capfd):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.bin"
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, name, **options)
    for _ in range(12):
        damaged = np.frombuffer(stream.getvalue(), np.uint8).copy()
        reach = min(len(damaged), int(rng.choice([40, 400, 100_000])))
        damaged[rng.integers(0, reach, 4)] = rng.integers(0, 256, 4)
        path.write_bytes(damaged.tobytes())
        for function in (image_size, read_image):
            with contextlib.suppress(ImageReadError):
                function(path)
    assert capfd.readouterr().err == ""


def test_too_large_is_told_from_the_header(tmp_path):
    # 14,000 x 14,000 pixels declared, none stored: an attempt to decode would say "truncated"
    path = tmp_path / "bomb.png"
    path.write_bytes(png(14_000, 14_000, 8, 2, b""))
    assert reason(path).startswith("too large")
    with pytest.raises(ImageReadError, match="too large"):
        image_size(path)
    path.write_bytes(png(13_377, 13_378, 8, 0, b""))  # 178,957,506: just above the limit
    assert reason(path).startswith("too large")
    path.write_bytes(png(13_377, 13_377, 8, 0, b""))  # 178,944,129: just below, and above Pillow's warning
    assert image_size(path) == (13_377, 13_377)
    assert "truncated" in reason(path)
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS == 178_956_970


def test_own_pixel_limit(tmp_path, photo):
    path = save(tmp_path / "a.png", photo)
    pixels = photo.shape[0] * photo.shape[1]
    assert read_image(path, max_pixels=pixels).shape == photo.shape
    with pytest.raises(ImageReadError, match=r"too large: 90 x 120 is more than 10,799 pixels"):
        read_image(path, max_pixels=pixels - 1)


def test_postscript_is_not_run(tmp_path):
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    )
    assert reason(tmp_path / "a.jpg") == "not an image in a known format"


def test_no_warning_even_as_error_and_filters_are_left_as_found(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png(9_500, 9_500, 1, 0, b"\x00" * (9_500 * (1 + 9_500 // 8 + 1))))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = list(warnings.filters)
        assert image_size(path) == (9_500, 9_500)
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(image_size, [path] * 40))) == 1
        assert list(warnings.filters) == before
        with pytest.raises(Image.DecompressionBombWarning):
            Image.open(path).close()


def test_overlapping_threads_leave_no_filter_behind(tmp_path, photo):
    """One thread is inside while another enters and leaves ``catch_warnings``: the list object changes."""
    paths = [save(tmp_path / f"{i}.png", photo) for i in range(4)]
    before = list(warnings.filters)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            for image in pool.map(read_image, paths * 25):
                assert np.array_equal(image, photo)
    finally:
        stop.set()
        thread.join()
    assert list(warnings.filters) == before


def test_extensions():
    extensions = image_extensions()
    assert {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".mpo"} <= extensions
    assert not extensions & {".pdf", ".eps", ".h5", ".mpg", ".txt", ".json", ".npy", ".wmf"}


def test_resize_against_skimage(photo):
    small = resize_image(photo, 40, 31)
    assert small.shape == (40, 31, 3)
    assert small.dtype == np.uint8
    assert small.flags.writeable
    # an antialiased reference (Gaussian + cubic spline): close on average, far closer than point sampling
    reference = skimage_resize(photo, (40, 31), order=3, anti_aliasing=True, preserve_range=True)
    sampled = photo[1::3, 1::3][:40, :30]
    error = np.abs(small - reference).mean()
    assert error < 2.5
    assert error < 0.6 * np.abs(sampled - reference[:, :30]).mean()
    assert np.array_equal(resize_image(photo, 120, 90), photo)


def test_digest(tmp_path):
    body = np.random.default_rng(0).bytes(2_500_000)
    (tmp_path / "a.bin").write_bytes(body)
    assert file_digest(tmp_path / "a.bin") == hashlib.sha256(body).hexdigest()
    assert file_digest(str(tmp_path / "a.bin")) == hashlib.sha256(body).hexdigest()
