"""Malformed images and masks, made deterministically from small good ones.

    python tests/soak/malformed.py FOLDER

reads every file of a folder with every reader and prints a JSON line for each: what came of it, and seconds.
"""

from __future__ import annotations

import io
import json
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (24, 17)  # width, height


def good() -> dict[str, bytes]:
    """Return small good files of every format and kind that the readers know, by a name with extension."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 6, SIZE[::-1], dtype=np.uint8))
    colour = Image.fromarray(rng.integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8))
    indexed = grey.copy()
    indexed.putpalette([*range(18)])
    deep = Image.fromarray(rng.integers(0, 60_000, SIZE[::-1], dtype=np.uint16))
    wide = Image.fromarray(rng.integers(0, 90_000, SIZE[::-1], dtype=np.int32))
    frames = {"save_all": True, "append_images": [colour.rotate(180)] * 3}
    exif = Image.Exif()
    exif[0x0112] = 6
    made: dict[str, tuple[Image.Image, str, dict]] = {
        "grey.png": (grey, "PNG", {}),
        "colour.png": (colour, "PNG", {}),
        "indexed.png": (indexed, "PNG", {"transparency": 2}),
        "deep.png": (deep, "PNG", {}),
        "bit.png": (grey.point(lambda value: value > 2, "1"), "PNG", {}),
        "alpha.png": (colour.convert("RGBA"), "PNG", {}),
        "animated.png": (colour, "PNG", frames),
        "photo.jpg": (colour, "JPEG", {"exif": exif}),
        "progressive.jpg": (colour, "JPEG", {"progressive": True}),
        "cmyk.jpg": (colour.convert("CMYK"), "JPEG", {}),
        "grey.jpg": (grey, "JPEG", {}),
        "grey.tif": (grey, "TIFF", {}),
        "lzw.tif": (grey, "TIFF", {"compression": "tiff_lzw"}),
        "deflated.tif": (colour, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "jpeg.tif": (colour, "TIFF", {"compression": "jpeg"}),
        "deep.tif": (deep, "TIFF", {}),
        "wide.tif": (wide, "TIFF", {}),
        "float.tif": (wide.convert("F"), "TIFF", {}),
        "cmyk.tif": (colour.convert("CMYK"), "TIFF", {}),
        "pages.tif": (grey, "TIFF", {"save_all": True, "append_images": [grey] * 5}),
        "lossy.webp": (colour, "WEBP", {}),
        "lossless.webp": (colour, "WEBP", {"lossless": True}),
        "animated.webp": (colour, "WEBP", frames),
        "indexed.gif": (indexed, "GIF", {}),
        "animated.gif": (colour, "GIF", frames),
        "grey.bmp": (grey, "BMP", {}),
        "colour.bmp": (colour, "BMP", {}),
        "bit.bmp": (grey.point(lambda value: value > 2, "1"), "BMP", {}),
    }
    files = {}
    for name, (image, kind, options) in made.items():
        file = io.BytesIO()
        image.save(file, kind, **options)
        files[name] = file.getvalue()
    return files


# ---------------------------------------------------------------------- mutations of any file


def truncated(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    return data[: rng.integers(0, len(data))]


def flipped(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Return data with one to thirty bytes changed, half of the time near the beginning."""
    changed = bytearray(data)
    end = len(data) if rng.random() < 0.5 else min(len(data), 80)
    for at in rng.integers(0, end, rng.integers(1, 31)):
        changed[at] = rng.integers(0, 256)
    return bytes(changed)


def spliced(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Return the header of one file before the body of another."""
    other = others[rng.integers(len(others))]
    return data[: rng.integers(4, min(64, len(data)))] + other[rng.integers(0, min(64, len(other))) :]


def cut_out(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2))
    return data[:start] + data[end:]


def doubled(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    start, end = sorted(rng.integers(0, len(data), 2))
    return data[:end] + data[start:]


def numbers_blown_up(data: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """Return data with a field of four bytes set to an extreme: sizes, offsets, counts, lengths."""
    changed = bytearray(data)
    value = [0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 65_536, len(data)][rng.integers(7)]
    at = rng.integers(0, max(1, min(len(data), 300) - 4))
    changed[at : at + 4] = struct.pack([">I", "<I"][rng.integers(2)], value)
    return bytes(changed)


MUTATIONS: tuple[Callable[[bytes, np.random.Generator, list[bytes]], bytes], ...] = (
    truncated,
    flipped,
    spliced,
    cut_out,
    doubled,
    numbers_blown_up,
)


# ---------------------------------------------------------------------- crafted files


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    *chunks: bytes, size: tuple[int, int] = (4, 4), depth: int = 8, kind: int = 0, interlace: int = 0
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def ifd(entries: list[tuple[int, int, int, int]], then: int) -> bytes:
    """Return a directory of a little-endian TIFF: tag, type, count, value."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + rows + struct.pack("<I", then)


def tiff(
    size: tuple[int, int], *, then: int = 0, bits: int = 8, strips: int = 1, compression: int = 1
) -> bytes:
    width, height = size
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, compression)]
    entries += [
        (262, 3, 1, 1),
        (273, 4, strips, 8),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, strips, 16),
    ]
    return b"II*\0" + struct.pack("<I", 24) + b"\0" * 16 + ifd(entries, then)


def many_pages(n: int) -> bytes:
    """Return a TIFF of ``n`` directories, each pointing at the next one."""
    data = tiff((4, 4))
    step = len(data) - 24
    pages = [data[24:-4] + struct.pack("<I", 24 + step * (i + 1) if i + 1 < n else 0) for i in range(n)]
    return data[:24] + b"".join(pages)


def crafted() -> Iterator[tuple[str, bytes]]:
    """Yield files that each aim at one weakness, by name."""
    rows = zlib.compress(b"\0\1\2\3\4" * 4)
    pixels = chunk(b"IDAT", rows)
    bomb = zlib.compress(b"\0" * (64 << 20), 9)
    yield "text-itxt.png", png(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb), pixels)
    yield "text-ztxt.png", png(chunk(b"zTXt", b"a\0\0" + bomb), pixels)
    yield "text-behind.png", png(pixels, chunk(b"zTXt", b"a\0\0" + bomb))
    yield "profile.png", png(chunk(b"iCCP", b"a\0\0" + bomb), pixels)
    yield "many-texts.png", png(*[chunk(b"tEXt", b"a\0" + b"x" * 900)] * 3000, pixels)
    yield "pixels-bomb.png", png(chunk(b"IDAT", bomb))
    for size in ((0, 4), (4, 0), (30_000, 30_000), (2**31 - 1, 1), (1, 2**31 - 1), (2**32 - 1, 2**32 - 1)):
        yield f"size-{size[0]}x{size[1]}.png", png(pixels, size=size)
        yield f"size-{size[0]}x{size[1]}.tif", tiff(size)
        header = struct.pack(
            "<IiiHHIIiiII", 40, size[0] & 0x7FFFFFFF, size[1] & 0x7FFFFFFF, 1, 8, 0, 0, 0, 0, 0, 0
        )
        yield (
            f"size-{size[0]}x{size[1]}.bmp",
            b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + header + b"\0" * 40,
        )
    for depth in (0, 1, 2, 3, 4, 8, 16, 32, 255):
        for kind in (0, 2, 3, 4, 6, 7):
            yield f"depth-{depth}-{kind}.png", png(pixels, depth=depth, kind=kind)
    for interlace in (1, 2, 255):
        yield f"interlace-{interlace}.png", png(pixels, interlace=interlace)
    yield "palette-missing.png", png(pixels, kind=3)
    yield "palette-short.png", png(chunk(b"PLTE", b"\1\1\1"), pixels, kind=3)
    yield "palette-odd.png", png(chunk(b"PLTE", b"\1\1\1\2"), pixels, kind=3)
    yield "palette-empty.png", png(chunk(b"PLTE", b""), pixels, kind=3)
    yield "no-pixels.png", png()
    yield "animation-of-nothing.png", png(chunk(b"acTL", struct.pack(">II", 0xFFFF, 0)), pixels)
    yield "animation-of-many.png", png(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), pixels)
    yield (
        "frame-outside.png",
        png(
            chunk(b"acTL", struct.pack(">II", 1, 0)),
            chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 9, 9, 2**31, 2**31, 1, 1, 0, 0)),
            pixels,
        ),
    )
    yield "pages-of-a-circle.tif", tiff((4, 4), then=24)
    yield "pages.tif", many_pages(5000)
    yield "pages-outside.tif", tiff((4, 4), then=0x7FFFFFF0)
    yield "strips.tif", tiff((4, 4), strips=2**31)
    for bits in (0, 1, 2, 4, 12, 16, 24, 32, 64, 65_535):
        yield f"bits-{bits}.tif", tiff((4, 4), bits=bits)
    for compression in (2, 3, 4, 5, 6, 7, 8, 32_773, 32_946, 34_925, 50_000, 50_001, 65_535):
        yield f"compression-{compression}.tif", tiff((4, 4), compression=compression)
    yield "no-tags.tif", b"II*\0" + struct.pack("<I", 8) + ifd([], 0)
    yield "directory-outside.tif", b"II*\0" + struct.pack("<I", 0xFFFFFFF0)
    yield "big.tif", b"II+\0\x08\0\0\0" + struct.pack("<Q", 2**63)
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    yield (
        "gif-size.gif",
        b"GIF89a" + b"\xff" * 4 + b"\xf7\0\0" + b"\0" * 768 + b",\0\0\0\0\xff\xff\xff\xff\0\x08",
    )
    yield "webp-size.webp", b"RIFF\xff\xff\xff\x7fWEBPVP8X\x0a\0\0\0\x10\0\0\0\xff\xff\xff\xff\xff\xff"
    yield "webp-lossless.webp", b"RIFF\x40\0\0\0WEBPVP8L\x30\0\0\0\x2f\xff\xff\xff\x0f" + b"\xaa" * 44
    yield "jpeg-size.jpg", b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1\xff\xd9"
    yield "jpeg-markers.jpg", b"\xff\xd8" + b"\xff\xe1\xff\xff" * 20_000
    yield "pnm.png", b"P5 99999999 99999999 255\n"
    yield "xbm.png", b"#define a_width 99999999\n#define a_height 99999999\nstatic char a[] = {0};\n"


def malformed(n: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield ``n`` files, the same for the same seed: the crafted ones first, then mutations of good ones."""
    made = 0
    for name, data in crafted():
        if made == n:
            return
        made += 1
        yield name, data
    files = good()
    names, contents = list(files), list(files.values())
    for i in range(made, n):
        rng = np.random.default_rng([seed, i])
        at = int(rng.integers(len(names)))
        mutate = MUTATIONS[i % len(MUTATIONS)]
        data = mutate(contents[at], rng, contents)
        name, suffix = names[at].split(".")
        if rng.random() < 0.2:  # under a name that promises something else
            suffix = ["png", "jpg", "tif", "bmp", "webp"][rng.integers(5)]
        yield f"{mutate.__name__}-{i}-{name}.{suffix}", data


# ---------------------------------------------------------------------- reading


def outcome(path: Path) -> dict:
    """Read a file with every reader; raise for what none of them promises."""
    from fiftyone_plugin.errors import ImageReadError
    from fiftyone_plugin.images.reading import image_size, read_image
    from fiftyone_plugin.masks.files import read_colours, read_mask
    from fiftyone_plugin.masks.rules import COLOURS, FIFTYONE, IDS

    begin = time.perf_counter()
    result: dict = {"file": path.name}

    def attempt(name: str, read: Callable[[], object]) -> object:
        try:
            value = read()
        except ImageReadError as error:
            result[name] = "refused" if "\n" not in error.reason else f"in lines: {error.reason}"
            return None
        result[name] = "read"
        return value

    size = attempt("size", lambda: image_size(path))
    image = attempt("image", lambda: read_image(path))
    if isinstance(image, np.ndarray):
        assert image.dtype == np.uint8, image.dtype
        assert image.shape == (*size, 3), (image.shape, size)
    for name, rules in (("ids", IDS), ("any", FIFTYONE), ("colours", COLOURS)):
        mask = attempt(name, lambda rules=rules: read_mask(path, rules))
        if isinstance(mask, np.ndarray):
            assert mask.ndim == 2, mask.shape
            assert mask.size, mask.shape
            assert mask.dtype in (np.uint8, np.uint16, np.uint32), mask.dtype
            assert int(mask.max()) <= 0xFFFFFF, mask.max()
    picture = attempt("picture", lambda: read_colours(path))
    if isinstance(picture, np.ndarray):
        assert (picture.dtype, picture.shape[2:]) == (np.uint8, (3,)), (picture.dtype, picture.shape)
    assert set(result.values()) <= {"read", "refused", path.name}, result
    return result | {"seconds": round(time.perf_counter() - begin, 3)}


def main(folder: str) -> None:
    """Print a line a file; a fault is one with ``fault``, and the loop goes on."""
    for path in sorted(Path(folder).iterdir()):
        print(json.dumps({"file": path.name, "begun": True}), flush=True)
        try:
            result = outcome(path)
        except Exception as error:
            result = {"file": path.name, "fault": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
