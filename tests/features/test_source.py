"""The stream of features: order, laziness, what fails on the way, what is kept, crops."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.loading import Loaders
from fiftyone_plugin.features.source import ImageFeatureSource, draw, feature_bytes, store_spec
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
        real = type(backbone).extract_tensors

        def extract_tensors(this, images, layers):
            self.batches.append(len(images))
            return real(this, images, layers)

        monkeypatch.setattr(type(backbone), "extract_tensors", extract_tensors)


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


def test_features_are_kept_in_memory_from_pass_to_pass(folder, tiny, monkeypatch):
    calls = Calls(tiny, monkeypatch)
    stream = source(folder, tiny)
    first = {image.key: image["k-1"].copy() for image in stream}
    assert (calls.batches, stream.forwards) == ([2, 2], 4)
    (folder / "coffee.jpg").unlink()  # what is known of it is enough
    for image in stream:
        np.testing.assert_array_equal(image["k-1"], first[image.key])
        with pytest.raises(KeyError):
            image["attn"]
    assert stream.forwards == 4
    stream.forget()
    assert [image.key for image in stream] == ["astronaut.jpg", "rocket.jpg", "z.png"]
    assert stream.failures == {"chelsea.jpg": "truncated file", "coffee.jpg": "no such file"}
    assert stream.forwards == 7


def test_a_file_that_changes_between_passes_is_another_image(folder, tiny):
    stream = source(folder, tiny)
    before = {image.key: image for image in stream}
    shutil.copy(folder / "rocket.jpg", folder / "coffee.jpg")
    assert stream.changed(before["coffee.jpg"])
    after = {image.key: image for image in stream}
    assert after["coffee.jpg"].digest == before["rocket.jpg"].digest
    np.testing.assert_array_equal(after["coffee.jpg"]["t3"], before["rocket.jpg"]["t3"])


def test_some_that_are_known_and_some_that_are_not_make_one_batch(folder, tiny):
    whole = {image.key: image for image in source(folder, tiny)}
    stream = source(folder, tiny)
    list(stream.batches({"astronaut.jpg", "z.png"}))
    group = list(stream.load(set(GOOD)))
    batch = stream.encode(group)
    assert [image.key for image in batch.images] == GOOD
    assert stream.forwards == 4
    for row, image in enumerate(batch.images):
        for layer in LAYERS:
            np.testing.assert_array_equal(image[layer], whole[image.key][layer])
            np.testing.assert_array_equal(batch.tensors[layer][row].numpy(), whole[image.key][layer])


def test_the_opening_is_what_fits_in_memory(folder, tiny):
    assert source(folder, tiny).opening().opening() is not None
    one = feature_bytes(["k11", "cls", "t3"], (4, 4), tiny.dim)
    image = next(iter(source(folder, tiny)))
    assert one == sum(array.nbytes for array in image.layers.values())
    stream = source(folder, tiny, kept_bytes=2 * one)
    opening = stream.opening()
    assert len(opening) == 2
    keys = [image.key for image in opening]
    assert [image.key for image in opening.opening()] == keys
    before = stream.forwards
    assert [image.key for image in stream] == GOOD
    assert stream.forwards - before == 4 - len(keys)


def test_a_sample_is_drawn_by_content_alone(folder, tiny):
    (folder / "chelsea.jpg").unlink()
    digests = {image.digest for image in source(folder, tiny).sample(2, seed=3)}
    assert len(digests) == 2
    for number, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        path.rename(folder / f"{number}{path.suffix}")
    assert {image.digest for image in source(folder, tiny).sample(2, seed=3)} == digests
    stream = source(folder, tiny)
    assert stream.sample(4, seed=3) is stream
    drawn = [frozenset(item.key for item in draw(stream.items, 2, seed)) for seed in range(40)]
    assert len(set(drawn)) == 6  # all pairs of four


@pytest.mark.parametrize("processes", [False, True])
def test_who_decodes_makes_no_difference(folder, tiny, processes):
    stream = source(folder, tiny, loaders=Loaders(2, processes=processes))
    found = list(stream.load(guide_side=80))
    assert [loaded.item.key for loaded in found] == GOOD
    assert stream.failures == {"chelsea.jpg": "truncated file"}
    for loaded in found:
        pixels = read_image(loaded.item.path)
        assert (loaded.digest, loaded.size) == (file_digest(loaded.item.path), pixels.shape[:2])
        np.testing.assert_array_equal(loaded.pixels, resize_image(pixels, 64, 64))
        np.testing.assert_array_equal(loaded.guide, resize_image(pixels, 80, 80))
    assert all(loaded.guide is None for loaded in stream.load(guide_side=64))


def test_what_is_stored_is_neither_decoded_nor_computed(folder, tiny, tmp_path, monkeypatch):
    first = source(folder, tiny, store=store_of(tmp_path, tiny))
    expected = {image.key: (image.size, image["t3"].copy()) for image in first}
    calls = Calls(tiny, monkeypatch)
    shutil.copy(folder / "z.png", folder / "copy of z.png")  # known by its content
    again = source(folder, tiny, store=store_of(tmp_path, tiny))
    found = {image.key: (image.size, image["t3"]) for image in again}
    assert (calls.batches, again.forwards) == ([], 0)
    for key, (size, tokens) in expected.items():
        assert found[key][0] == size
        np.testing.assert_array_equal(found[key][1], tokens)


def test_an_interrupted_pass_keeps_what_it_has(folder, tiny, tmp_path):
    stream = source(folder, tiny, store=store_of(tmp_path, tiny))
    for _ in stream:
        break
    again = source(folder, tiny, store=store_of(tmp_path, tiny))
    list(again)
    assert again.forwards == 2


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
