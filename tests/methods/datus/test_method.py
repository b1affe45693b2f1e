"""DatUS: segments against slow references, the guard on real photographs, the method's contract."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fiftyone_plugin.errors import ImageReadError, PseudoMaskError, UsageError
from fiftyone_plugin.features.backbones import load_backbone
from fiftyone_plugin.features.crops import CropEncoder
from fiftyone_plugin.features.source import ImageFeatureSource
from fiftyone_plugin.features.store import FeatureStore
from fiftyone_plugin.images.boxes import PAD_COLOUR
from fiftyone_plugin.images.listing import list_images
from fiftyone_plugin.methods.datus.config import DatUSConfig, SegmentSettings
from fiftyone_plugin.methods.datus.method import DatUS, native_segments, segment_crop
from fiftyone_plugin.methods.datus.segments import (
    connected_segments,
    drop_noise,
    find_segments,
    merge_noise,
)
from fiftyone_plugin.methods.registry import create_method
from fiftyone_plugin.runs.api import label
from fiftyone_plugin.runs.model import load_method, save_method

from ..synthetic import MemorySource, make_image, scene, scenes

pytestmark = pytest.mark.slow

AROUND = np.ones((3, 3), bool)
OWN = {"layer": "out", "descriptor_layers": ["out"], "whiten": None, "refine": "none", "n_jobs": 1}


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = len({*zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)})
    return pairs == len(np.unique(a)) == len(np.unique(b))


@st.composite
def maps(draw, kinds: int = 3) -> np.ndarray:
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    cells = draw(st.lists(st.integers(0, kinds - 1), min_size=height * width, max_size=height * width))
    return np.array(cells).reshape(height, width)


# ---------------------------------------------------------------------- segments


@settings(deadline=None, max_examples=80)
@given(maps())
def test_connected_segments_are_the_8_connected_parts_of_each_community(communities):
    reference = np.zeros(communities.shape, int)
    for community in np.unique(communities):
        parts, n = ndimage.label(communities == community, structure=AROUND)
        reference[parts > 0] = parts[parts > 0] + reference.max() + n * 0
    segments = connected_segments(communities.ravel(), communities.shape)
    assert same_partition(segments, reference)
    assert np.unique(segments).tolist() == list(range(segments.max() + 1))


def slow_merge(parts, vectors, min_patches, max_segments):
    """Join the smallest part with its neighbour of highest mean cosine, one after the other."""
    parts = parts.copy()
    unit = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    while True:
        ids, sizes = np.unique(parts, return_counts=True)
        if len(ids) == 1 or (sizes.min() > min_patches and len(ids) <= max_segments):
            return parts
        own = parts == ids[sizes.argmin()]
        around = np.unique(parts[ndimage.binary_dilation(own, AROUND) & ~own])
        affinity = [np.mean([a @ b for a in unit[own] for b in unit[parts == other]]) for other in around]
        # the name of the larger part stays: ties are broken by it
        parts[own] = around[int(np.argmax(affinity))]


@settings(deadline=None, max_examples=60)
@given(maps(), st.integers(0, 8), st.integers(1, 6), st.integers(0, 1000))
def test_noise_joins_the_neighbour_of_highest_affinity(communities, min_patches, max_segments, seed):
    grid = communities.shape
    vectors = np.random.default_rng(seed).normal(size=(*grid, 5)).astype(np.float32)
    parts = connected_segments(communities.ravel(), grid)
    flat = vectors.reshape(-1, 5)
    merged = merge_noise(parts, flat, grid, min_patches, max_segments).reshape(grid)
    reference = slow_merge(parts.reshape(grid), vectors.astype(np.float64), min_patches, max_segments)
    assert same_partition(merged, reference)
    sizes = np.bincount(merged.ravel())
    assert sizes.tolist() == sorted(sizes, reverse=True)
    assert len(sizes) == 1 or (sizes.min() > min_patches and len(sizes) <= max_segments)
    for segment in range(len(sizes)):
        assert ndimage.label(merged == segment, structure=AROUND)[1] == 1


@settings(deadline=None, max_examples=60)
@given(maps(), st.integers(0, 8), st.integers(1, 4))
def test_void_keeps_the_largest_segments_alone(communities, min_patches, max_segments):
    parts = connected_segments(communities.ravel(), communities.shape)
    kept = drop_noise(parts, min_patches, max_segments)
    sizes = np.bincount(parts)
    expected = sorted(sizes[sizes > min_patches].tolist(), reverse=True)[:max_segments]
    assert np.bincount(kept[kept >= 0], minlength=len(expected)).tolist() == expected
    for segment in range(len(expected)):
        assert len(np.unique(parts[kept == segment])) == 1


def extract(backbone, photos, layers, size=448) -> list:
    return list(ImageFeatureSource(list_images(photos)[:5], backbone, layers, size=size))


@pytest.fixture(scope="module")
def photo_features(backbone, photos) -> list:
    return extract(backbone, photos, ["k-1", "out", "t-4", "t-3", "t-1"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"algorithm": "leiden"},
        {"layer": "k-1"},
        {"center": False, "weighted": False, "neighbours": None, "noise": "void", "layer": "k-1"},
    ],
)
def test_segments_of_photographs_do_not_collapse(photo_features, options):
    layer = options.get("layer", DatUSConfig().layer)
    options = SegmentSettings(**{k: v for k, v in options.items() if k != "layer"})
    for image in photo_features:
        found = find_segments(image[layer], image.grid, options)
        n = found.labels.max() + 1
        assert 1 < n < image.grid[0] * image.grid[1] / 4, image.key
        assert (found.labels >= 0).mean() > (0.9 if options.noise == "void" else 0.999)
        # raw keys of this checkpoint all point the same way
        assert found.fallback == ("" if options.center else "centred"), image.key


@pytest.mark.parametrize("noise", ["neighbour", "void"])
@pytest.mark.parametrize("kind", ["random", "constant", "zero", "offset"])
def test_features_without_structure_fall_back_to_the_image_grid(kind, noise):
    grid = (32, 32)
    features = {
        "random": np.random.default_rng(0).normal(size=(1024, 64)),
        "constant": np.ones((1024, 64)),
        "zero": np.zeros((1024, 64)),
        "offset": 30 + np.random.default_rng(1).normal(size=(1024, 64)),
    }[kind]
    found = find_segments(features, grid, SegmentSettings(noise=noise))
    assert found.fallback == "grid"
    assert 1 < found.labels.max() + 1 < 256
    assert (found.labels >= 0).mean() > 0.9


def test_one_patch_is_one_segment():
    for noise in ("neighbour", "void"):
        found = find_segments(np.ones((1, 4)), (1, 1), SegmentSettings(noise=noise, min_patches=0))
        assert found.labels.tolist() == [0]


# ---------------------------------------------------------------------- crops


def test_crops_show_the_segment_alone():
    pixels = np.random.default_rng(0).integers(1, 255, (60, 80, 3), np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 10:70] = True
    mask[20:30, 10:20] = False
    crop = segment_crop(pixels, mask, 60)
    # the box is 60 wide: nothing is scaled, and 20 rows are padded to 60
    assert (crop[:20] == PAD_COLOUR).all()
    inside = mask[20:40, 10:70]
    np.testing.assert_array_equal(crop[20:40][inside], pixels[20:40, 10:70][inside])
    assert (crop[20:40][~inside] == PAD_COLOUR).all()


def test_native_segments_follow_the_grid():
    native = native_segments(np.arange(6), (2, 3), (40, 30))
    np.testing.assert_array_equal(native, np.kron(np.arange(6).reshape(2, 3), np.ones((20, 10), int)))
    assert native_segments(np.arange(4), (2, 2), (1, 1)).tolist() == [[3]]


def test_crop_features_are_remembered_by_another_run(tiny_weights, tmp_path):
    backbone = load_backbone(tiny_weights, cache_dir=tmp_path, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), np.uint8)
    expected = np.concatenate([backbone.extract(pixels[i : i + 4], ["cls"])["cls"] for i in (0, 4)])
    store = FeatureStore(tmp_path, {"name": "images"}, None)
    first = CropEncoder(backbone, 4, store)
    np.testing.assert_array_equal(first(pixels, ["cls"])["cls"], expected)
    second = CropEncoder(backbone, 4, store)
    backbone.model = None  # nothing is computed any more
    np.testing.assert_array_equal(second(pixels, ["cls"])["cls"], expected)
    np.testing.assert_array_equal(second(pixels[[5, 0]], ["cls"])["cls"], expected[[5, 0]])
    assert CropEncoder(backbone, 4, None)._store(32) is None


# ---------------------------------------------------------------------- the method


@pytest.fixture(scope="module")
def fitted() -> DatUS:
    return DatUS(5, **OWN).fit(scenes())


def test_inputs_are_what_the_options_need():
    assert DatUS().inputs == ("out", "t-4", "t-3", "t-1")
    assert DatUS(layer="k-1", descriptor="cls").inputs == ("k-1", "cls")


def test_grounds_and_objects_get_their_own_classes(fitted):
    truth, found = [], []
    for index in range(12):
        scores = fitted.predict(make_image(scene(index), "x"))
        assert scores.labels.min() >= 1  # every pixel has a class
        np.testing.assert_allclose(scores.scores.sum(0), 1)
        truth.append(scene(index)[4::8, 4::8].ravel())
        found.append(scores.argmax().ravel())
    truth, found = np.concatenate(truth), np.concatenate(found)
    for kind in range(5):
        counts = np.bincount(found[truth == kind])
        assert counts.max() > 0.9 * counts.sum(), kind
    assert len({int(np.bincount(found[truth == kind]).argmax()) for kind in range(5)}) == 5
    areas = np.bincount(found)[1:]
    assert areas[0] == areas.max()  # numbered by falling area


def test_saved_and_loaded_crops_are_labelled_the_same(tmp_path):
    method = DatUS(4, **OWN, descriptor="cls").fit(scenes())
    save_method(method, tmp_path)
    again = load_method(tmp_path)
    assert again.get_config() == json.loads(json.dumps(method.get_config()))
    assert (again.n_segments_, again.n_classes_) == (method.n_segments_, method.n_classes_)
    for image in scenes(4):
        first, second = method.predict(image), again.predict(image)
        np.testing.assert_array_equal(first.labels, second.labels)
        np.testing.assert_array_equal(first.scores, second.scores)


def test_processes_and_order_of_work_do_not_matter(fitted):
    two = DatUS(5, **(OWN | {"n_jobs": 2})).fit(scenes(memo=True))
    for name, array in fitted.get_state()[1].items():
        np.testing.assert_array_equal(array, two.get_state()[1][name])
    images = scenes(6, memo=True)
    two.prefetch(list(images))
    assert all(image.memo for image in images)
    for image, plain in zip(images, scenes(6), strict=True):
        np.testing.assert_array_equal(two.predict(image).argmax(), fitted.predict(plain).argmax())


def test_segments_are_shared_by_seeds_and_class_numbers_but_not_by_knobs():
    image = make_image(scene(0), "x", memo=True)
    base = DatUS(5, **OWN).fit([image])
    DatUS(3, **(OWN | {"random_state": 7})).fit([image])
    assert len(image.memo) == 1
    DatUS(3, **(OWN | {"resolution": 2.0})).fit([image])
    assert len(image.memo) == 2
    assert base.n_segments_ == len(np.unique(base.predict(image).argmax()))


def test_images_that_cannot_be_read_are_left_out():
    good = scenes(6)
    broken = make_image(scene(7), "broken.png", broken=True)
    method = DatUS(4, **(OWN | {"descriptor": "cls"})).fit(MemorySource([*good, broken]))
    alone = DatUS(4, **(OWN | {"descriptor": "cls"})).fit(good)
    np.testing.assert_array_equal(method.get_state()[1]["classes.centers"], alone.classes_.centers_)
    with pytest.raises(ImageReadError, match="truncated"):
        method.predict(broken)
    with pytest.raises(PseudoMaskError, match="nothing to learn"):
        DatUS(4, **OWN).fit(MemorySource())


def test_degenerate_graphs_are_said_once(caplog):
    images = [make_image(scene(i), f"{i}.png", noise=0) for i in range(4)]
    for image in images:
        image.layers["out"][:] = np.random.default_rng(len(image.key)).normal(size=image["out"].shape)
    with caplog.at_level(logging.WARNING):
        method = DatUS(2, **OWN).fit(MemorySource(images))
    assert method.n_fallbacks_ == 4
    assert [record.message for record in caplog.records if "degenerate" in record.message] == [
        "the patch graph of 4 of 4 images was degenerate (nearly all patches joined, or no regions found) "
        "and was replaced by one of centred features, or of neighbours in the image"
    ]


def test_fewer_segments_than_classes(caplog):
    method = DatUS(50, **OWN)
    with caplog.at_level(logging.WARNING):
        method.fit(scenes(2))
    assert method.n_classes_ <= method.n_segments_ < 50
    assert "50 classes asked for" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "published"}, "preset can only be 'default' any more"),
        ({"colour": 1}, "no option colour. The options are: .*algorithm"),
        ({"center": 1}, "center must be true or false"),
        ({"neighbours": 1}, "neighbours must be"),
        ({"noise": "keep"}, "noise must be one of neighbour, void, got 'keep'"),
        ({"crop_size": 168}, "multiple of 112"),
        ({"layer": "cls"}, "layer must be patch features"),
        ({"descriptor_layers": []}, "descriptor_layers must be a list"),
        ({"algorithm": "infomap"}, "one of louvain, leiden"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        create_method("datus", **options)


def test_stages_are_shown(fitted):
    panels = fitted.explain(make_image(scene(0), "x"))
    assert [panel.kind for panel in panels] == ["heat", "labels", "labels", "labels"]
    affinity = panels[0]
    assert affinity.array[affinity.mark] == pytest.approx(affinity.array.max())


# ---------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def settings_of_runs(tiny_weights) -> dict:
    return {
        "method": "datus",
        "backbone": tiny_weights,
        "size": 128,
        "classes": 4,
        "jobs": 1,
        "device": "cpu",
    }


def masks_of(result) -> dict[str, bytes]:
    return {row.image: result.mask_path(row).read_bytes() for row in result.labelled}


@pytest.mark.parametrize("options", [{}, {"descriptor": "cls", "noise": "void", "crop_size": 112}])
def test_runs_give_the_same_masks_again(photos, tmp_path, settings_of_runs, options):
    given = settings_of_runs | {"options": options}
    first = label(photos, out=tmp_path / "first", **given)
    assert len(first.labelled) == 7
    if not options:
        assert all(row.coverage == 1 for row in first.labelled)
    second = label(photos, out=tmp_path / "second", **(given | {"jobs": 2, "cache": False}))
    assert masks_of(second) == masks_of(first)
    by_model = label(photos, out=tmp_path / "third", model=first.out / "model", jobs=1, device="cpu")
    assert masks_of(by_model) == masks_of(first)
    (first.out / "masks" / first.labelled[0].mask).touch()
    resumed = label(photos, out=tmp_path / "fourth", resume=True, **given)
    assert masks_of(resumed) == masks_of(first)
