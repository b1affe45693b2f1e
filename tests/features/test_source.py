"""The stream of features: order, laziness, what fails on the way, what is kept, crops."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.errors import ImageReadError, UsageError
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.source import DirectoryMemo, ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.boxes import PAD_COLOUR, crop_square
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.images.reading import file_digest, read_image, resize_image

LAYERS = ("k-1", "cls", "t3")


@pytest.fixture(scope="module")
def tiny(tiny_weights):
    return load_backbone(tiny_weights, cache_dir=Path(tiny_weights).parent, device="cpu", precision="float32")


@pytest.fixture
def folder(photos, tmp_path) -> Path:
    """Five images, the second of which is truncated."""
    (tmp_path / "images").mkdir()
    for name in ("astronaut.jpg", "chelsea.jpg", "coffee.jpg", "rocket.jpg", "camera.png"):
        shutil.copy(photos / name, tmp_path / "images" / name)
    content = (photos / "chelsea.jpg").read_bytes()
    (tmp_path / "images" / "camera.png").rename(tmp_path / "images" / "z.png")
    (tmp_path / "images" / "chelsea.jpg").write_bytes(content[: len(content) // 2])
    return tmp_path / "images"


def source(folder: Path, backbone, **options) -> ImageFeatureSource:
    return ImageFeatureSource(
        list_images(folder), backbone, LAYERS, **{"size": 64, "batch_size": 2, **options}
    )


def store_of(tmp_path: Path, backbone, limit: int | None = None) -> FeatureStore:
    return FeatureStore(tmp_path / "cache", store_spec(backbone, 64), limit_bytes=limit)


GOOD = ["astronaut.jpg", "coffee.jpg", "rocket.jpg", "z.png"]


class Calls:
    """Counts what passes through a backbone."""

    def __init__(self, backbone, monkeypatch) -> None:
        self.batches: list[int] = []
        real = type(backbone).extract

        def extract(this, images, layers):
            self.batches.append(len(images))
            return real(this, images, layers)

        monkeypatch.setattr(type(backbone), "extract", extract)


@pytest.mark.parametrize("stored", [True, False])
def test_yields_what_the_backbone_gives_in_order(folder, tiny, tmp_path, stored):
    stream = source(folder, tiny, store=store_of(tmp_path, tiny) if stored else None)
    assert len(stream) == 5
    for _ in range(2):  # it can be iterated again
        images = list(stream)
        assert [image.key for image in images] == GOOD
        assert stream.failures == {"chelsea.jpg": "truncated file"}
    for image in images:
        path = folder / image.key
        pixels = read_image(path)
        assert image.size == pixels.shape[:2]
        assert image.digest == file_digest(path)
        assert image.grid == stream.grid == (4, 4)
        np.testing.assert_array_equal(image.read_image(), pixels)
        expected = tiny.extract(resize_image(pixels, 64, 64)[None], ["k11", "cls", "t3"])
        assert set(image.layers) == set(LAYERS)
        np.testing.assert_array_equal(image["k-1"], expected["k11"][0])
        np.testing.assert_array_equal(image["t3"], expected["t3"][0])
        np.testing.assert_allclose(image["cls"], expected["cls"][0], rtol=1e-6)


def test_lazy_features_are_loaded_when_asked_for(folder, tiny, monkeypatch):
    calls = Calls(tiny, monkeypatch)
    stream = source(folder, tiny)
    images = list(stream.lazy())
    assert calls.batches == []
    assert [image.key for image in images] == ["astronaut.jpg", "chelsea.jpg", *GOOD[1:]]
    eager = {image.key: image["k-1"] for image in stream}
    calls.batches.clear()
    for image in images:
        if image.key == "chelsea.jpg":
            with pytest.raises(ImageReadError, match="truncated file"):
                image["cls"]
            continue
        np.testing.assert_array_equal(image["k-1"], eager[image.key])
        image["cls"]
        with pytest.raises(KeyError):
            image["attn"]
    assert calls.batches == [1] * 4  # once an image, all layers together
    assert [image.key for image in stream.lazy({"coffee.jpg", "z.png"})] == ["coffee.jpg", "z.png"]


def test_lazy_names_what_cannot_even_be_opened(folder, tiny):
    stream = source(folder, tiny)
    (folder / "coffee.jpg").unlink()
    assert [image.key for image in stream.lazy()] == ["astronaut.jpg", "chelsea.jpg", "rocket.jpg", "z.png"]
    assert stream.failures == {"coffee.jpg": "no such file"}


def test_extract_computes_what_is_missing(folder, tiny, tmp_path, monkeypatch):
    calls = Calls(tiny, monkeypatch)
    first = source(folder, tiny, store=store_of(tmp_path, tiny))
    assert first.extract(NullProgress()) == 4
    assert calls.batches == [2, 2]
    again = source(folder, tiny, store=store_of(tmp_path, tiny))
    assert again.extract(NullProgress()) == 0
    assert [image.key for image in again] == GOOD
    assert calls.batches == [2, 2]
    shutil.copy(folder / "z.png", folder / "copy of z.png")  # known by its content
    assert source(folder, tiny, store=store_of(tmp_path, tiny)).extract(NullProgress()) == 0
    assert source(folder, tiny).extract(NullProgress()) == 0  # nothing to fill without a store


def test_copies_of_an_image_are_computed_once_in_a_pass(folder, tiny, tmp_path):
    for i in range(3):
        shutil.copy(folder / "coffee.jpg", folder / f"copy{i}.jpg")
    stream = source(folder, tiny, store=store_of(tmp_path, tiny))
    assert stream.extract(NullProgress()) == 4
    found = {image.key: image for image in stream}
    assert sorted(found) == sorted([*GOOD, "copy0.jpg", "copy1.jpg", "copy2.jpg"])
    np.testing.assert_array_equal(found["copy2.jpg"]["k-1"], found["coffee.jpg"]["k-1"])


def test_an_interrupted_extraction_keeps_what_it_has(folder, tiny, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    stream = source(folder, tiny, store=store_of(tmp_path, tiny))
    iterator = iter(stream)
    next(iterator)
    with pytest.raises(Stop):
        iterator.throw(Stop)
    calls = Calls(tiny, monkeypatch)
    assert source(folder, tiny, store=store_of(tmp_path, tiny)).extract(NullProgress()) == 2
    assert calls.batches == [2]


def test_a_damaged_store_is_computed_again(folder, tiny, tmp_path):
    stream = source(folder, tiny, store=store_of(tmp_path, tiny))
    expected = {image.key: np.array(image["k-1"]) for image in stream}
    path = next((tmp_path / "cache").rglob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)
    found = {
        image.key: np.array(image["k-1"]) for image in source(folder, tiny, store=store_of(tmp_path, tiny))
    }
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)


def test_a_full_store_changes_nothing(folder, tiny, tmp_path):
    plain = {image.key: image["k-1"] for image in source(folder, tiny)}
    stream = source(folder, tiny, store=store_of(tmp_path, tiny, limit=100))
    stream.extract(NullProgress())
    for image in stream:
        np.testing.assert_array_equal(image["k-1"], plain[image.key])


def test_layers_are_checked_at_once(folder, tiny):
    with pytest.raises(UsageError, match="unknown layer"):
        ImageFeatureSource(list_images(folder), tiny, ["keys"])


def test_sizes_are_rounded(folder, tiny):
    stream = source(folder, tiny, size=70, crop_size=50)
    assert (stream.size, stream.crop_size, stream.grid) == (64, 48, (4, 4))


# --- crops ----------------------------------------------------------------------------------------


def test_crops_pass_through_the_backbone(folder, tiny):
    stream = source(folder, tiny, crop_size=48)
    image = next(iter(stream))
    boxes = [(0, 0, 100, 80), (5, 5, 6, 6), (0, 0, 512, 512), (3, 200, 400, 210), (10, 10, 60, 60)]
    found = image.crop_cls(boxes)
    pixels = image.read_image()
    expected = [tiny.extract(crop_square(pixels, box, 48)[None], ["cls"])["cls"][0] for box in boxes]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32
    assert image.crop_cls([]).shape == (0, tiny.dim)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 64))
def test_crops_keep_their_shape_and_are_padded_with_the_mean(height, width, size):
    image = np.zeros((500, 500, 3), np.uint8)
    image[50 : 50 + height, 60 : 60 + width] = (255, 0, 255)
    crop = crop_square(image, (50, 60, 50 + height, 60 + width), size)
    assert crop.shape == (size, size, 3)
    inside = (crop == (255, 0, 255)).all(-1)
    assert (crop[~inside] == PAD_COLOUR).all()
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    scale = size / max(height, width)
    assert len(rows) == max(1, round(height * scale))
    assert len(columns) == max(1, round(width * scale))
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert abs(rows[0] - (size - 1 - rows[-1])) <= 1  # centred
    assert abs(columns[0] - (size - 1 - columns[-1])) <= 1


def test_a_square_crop_is_a_plain_resize(photos):
    image = read_image(photos / "astronaut.jpg")
    expected = resize_image(np.ascontiguousarray(image[100:300, 50:250]), 56, 56)
    np.testing.assert_array_equal(crop_square(image, (100, 50, 300, 250), 56), expected)


# --- what is kept beside the features -------------------------------------------------------------


def test_memo_keeps_arrays_by_image_and_name(tmp_path):
    memo = DirectoryMemo(tmp_path, "ab" * 32)
    assert memo.get("regions") is None
    arrays = {"a": np.arange(6).reshape(2, 3), "empty": np.zeros((0, 4), np.float32)}
    memo.put("regions", arrays)
    found = DirectoryMemo(tmp_path, "ab" * 32).get("regions")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert memo.get("other") is None
    assert DirectoryMemo(tmp_path, "cd" * 32).get("regions") is None
    memo.put("regions", {"a": np.zeros(1)})
    assert memo.get("regions").keys() == {"a"}


def test_damaged_memos_are_none(tmp_path):
    memo = DirectoryMemo(tmp_path, "ab" * 32)
    memo.put("regions", {"a": np.arange(1000), "b": np.ones((50, 50))})
    (path,) = tmp_path.rglob("*.npz")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 1, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        assert memo.get("regions") is None
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        found = memo.get("regions")  # the bytes that were hit may be harmless ones
        for array in (found or {}).values():
            assert array.tobytes() in (np.arange(1000).tobytes(), np.ones((50, 50)).tobytes())
