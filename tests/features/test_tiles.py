"""Images in tiles and as a whole: what is cut out, what becomes of overlaps, and that it fits together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fiftyone_plugin import label
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.source import ImageFeatureSource, store_spec
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.features.tiles import fine_patches, fuse, open_source, pooling, views
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.images.reading import read_image, resize_image

SIDE = 128  # of a view: 8 patches of 16 pixels


@pytest.fixture(scope="module")
def tiny(tiny_weights):
    return load_backbone(tiny_weights, cache_dir=Path(tiny_weights).parent, device="cpu", precision="float32")


def opened(photos, backbone, tiles, **options) -> ImageFeatureSource:
    return open_source(
        list_images(photos)[:3],
        backbone,
        ("k-1", "cls", "t3"),
        **{"size": SIDE, "batch_size": 2, "tiles": tiles, "store": None, **options},
    )


@pytest.mark.parametrize(("patches", "tiles", "fine"), [(32, 2, 56), (8, 3, 20), (5, 2, 9), (3, 2, 6)])
def test_tiles_that_agree_are_averaged_by_area(patches, tiles, fine):
    """Against a loop over ever finer cells, of which both grids have a whole number in a patch."""
    assert fine_patches(patches, tiles) == fine
    rng = np.random.default_rng(0)
    field = rng.normal(size=(fine, fine, 4))
    field /= np.linalg.norm(field, axis=2, keepdims=True)
    step = patches - patches // 4
    cut = [
        torch.from_numpy(field[y : y + patches, x : x + patches].reshape(1, -1, 4)).half()
        for y in range(0, tiles * step, step)
        for x in range(0, tiles * step, step)
    ]
    assert len(cut) == tiles**2
    cells = field.repeat(patches, axis=0).repeat(patches, axis=1)
    area = cells.reshape(patches, fine, patches, fine, 4).mean((1, 3)).reshape(-1, 4)
    whole = rng.normal(size=(1, patches**2, 4)) * 7
    expected = area / np.linalg.norm(area, axis=1, keepdims=True)
    expected = (expected + whole[0] / np.linalg.norm(whole[0], axis=1, keepdims=True)) / 2
    found = fuse(torch.from_numpy(whole).half(), cut, patches)
    assert found.dtype == torch.float16
    np.testing.assert_allclose(found[0].numpy(), expected, atol=4e-3)


@pytest.mark.parametrize("tiles", [2, 3, 4])
def test_a_tile_counts_less_towards_its_border(tiles):
    weights = pooling(32, tiles)
    np.testing.assert_allclose(weights.sum((0, 2)), 1, rtol=1e-6)
    first = weights[0].sum(0)
    assert (np.diff(first[24:]) < 0).all()
    np.testing.assert_allclose(first[:24], first[0])


def test_views_are_the_whole_and_parts_of_the_finer_copy(photos):
    native = read_image(photos / "coffee.jpg")
    fine = resize_image(native, 14 * 16, 14 * 16)
    whole, *tiles = views(torch.from_numpy(fine)[None], 8, 16, 2)
    assert whole.dtype == torch.uint8
    assert whole.shape == (1, SIDE, SIDE, 3)
    near = np.abs(whole[0].numpy().astype(int) - resize_image(native, SIDE, SIDE))
    assert near.mean() < 2
    corners = [(0, 0), (0, 96), (96, 0), (96, 96)]
    for tile, (y, x) in zip(tiles, corners, strict=True):
        np.testing.assert_array_equal(tile[0].numpy(), fine[y : y + SIDE, x : x + SIDE])


def test_features_do_not_depend_on_the_batch_and_have_a_store_of_their_own(photos, tiny, tmp_path):
    store = FeatureStore(tmp_path, store_spec(tiny, SIDE), limit_bytes=None)
    plain = {image.key: dict(image.layers) for image in opened(photos, tiny, 1, store=store)}
    for size in (1, 3):
        stream = opened(photos, tiny, 2, batch_size=size, store=store)
        images = list(stream)
        assert stream.forwards == (3 if size == 1 else 0)  # the second time they are stored
        fresh = list(opened(photos, tiny, 2, batch_size=size))
        for one, other in zip(images, fresh, strict=True):
            assert one.grid == (8, 8)
            for layer in ("k-1", "cls", "t3"):
                np.testing.assert_array_equal(one[layer], other[layer])
            assert not np.array_equal(one["t3"], plain[one.key]["t3"])
            for layer in ("cls", "k-1"):  # of the whole image, but for its resizing
                np.testing.assert_allclose(one[layer], plain[one.key][layer], atol=0.3)
    again = {image.key: dict(image.layers) for image in opened(photos, tiny, 1, store=store)}
    for key, layers in plain.items():
        np.testing.assert_array_equal(again[key]["t3"], layers["t3"])


def test_a_model_that_sees_tiles_labels_the_same_again(photos, tiny_weights, tmp_path):
    settings = {"backbone": tiny_weights, "size": 96, "refine": "none", "jobs": 1}
    names = [str(photos / f"{name}.jpg") for name in ("astronaut", "coffee", "rocket")]
    first = label(names, out=tmp_path / "a", classes=3, options={"tiles": 2}, **settings)
    again = label(names, out=tmp_path / "b", model=tmp_path / "a" / "model")
    without = label(names, out=tmp_path / "c", classes=3, **settings)
    masks = [
        {path.name: path.read_bytes() for path in (run.out / "masks").iterdir()}
        for run in (first, again, without)
    ]
    assert masks[0] == masks[1]
    assert masks[0] != masks[2]
