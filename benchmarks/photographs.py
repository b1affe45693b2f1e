"""Any number of distinct photographs, made of those that installed packages bring along.

    python -m benchmarks.photographs FOLDER [--count 1000] [--megapixels 0.3]

Every one is another cut of one of them, mirrored or not, brightened or darkened, with some grain, so that
files are about as large as those of a camera and no two are alike. The same number, size and seed: the same
files.
"""

from __future__ import annotations

import argparse
import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from fiftyone_plugin.common.parallel import batched, parallel_map

SCIKIT_IMAGE = ("astronaut", "chelsea", "coffee", "rocket")
GRAIN = 5.0  # standard deviation, of 255
CHUNK = 64  # files a task


@lru_cache(maxsize=1)
def sources() -> tuple[Image.Image, ...]:
    """Return the photographs: two of scikit-learn, and four of scikit-image where that is installed."""
    from sklearn.datasets import load_sample_image

    found = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    try:
        from skimage import data

        found += [getattr(data, name)() for name in SCIKIT_IMAGE]
    except ImportError:
        pass
    return tuple(Image.fromarray(array) for array in found)


def size_of(megapixels: float) -> tuple[int, int]:
    """Return the (width, height) of a 4:3 photograph of so many million pixels; 640 x 480 for 0.3."""
    unit = max(1, round((megapixels * 1e6 / 12) ** 0.5 / 8)) * 8
    return 4 * unit, 3 * unit


def photograph(number: int, size: tuple[int, int], seed: int = 0) -> Image.Image:
    """Return one of them.

    Args:
        number: which.
        size: (width, height), pixels.
        seed: of all of them.
    """
    rng = np.random.default_rng([seed, number])
    source = sources()[rng.integers(len(sources()))]
    share = rng.uniform(0.5, 1.0)
    height = int(share * min(source.height, source.width * size[1] / size[0]))
    width = int(height * size[0] / size[1])
    left, top = (int(rng.integers(n + 1)) for n in (source.width - width, source.height - height))
    image = source.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tile = rng.normal(0.0, GRAIN, (256, 256, 3)).astype(np.float32)
    repeats = (-(-size[1] // 256), -(-size[0] // 256), 1)
    pixels = np.asarray(image, np.float32) * np.float32(rng.uniform(0.7, 1.2))
    pixels += np.tile(tile, repeats)[: size[1], : size[0]]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def make_photographs(folder: Path, count: int, megapixels: float = 0.3, seed: int = 0) -> None:
    """Fill a folder with JPEGs ``000000.jpg``, ...; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [n for n in range(count) if not (folder / _name(n)).exists()]
    size = size_of(megapixels)
    parallel_map(_write, [(folder, numbers, size, seed) for numbers in batched(missing, CHUNK)], n_jobs=0)


def _write(folder: Path, numbers: list[int], size: tuple[int, int], seed: int) -> None:
    for number in numbers:
        photograph(number, size, seed).save(folder / _name(number), quality=90)


def _name(number: int) -> str:
    return f"{number:06d}.jpg"


def main(argv: list[str] | None = None) -> int:
    """Make photographs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.photographs", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--megapixels", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    make_photographs(args.folder, args.count, args.megapixels, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
