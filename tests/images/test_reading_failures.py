from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile
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

from .reading_helpers import AVIF, png, reason, save


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
        "import os, sys\nfrom fiftyone_plugin.images import reading\n"
        "from fiftyone_plugin.errors import ImageReadError\n"
        "os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "try: reading.read_image('a.png')\n"
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
