"""LightCluster on made-up features, where the truth is known, and on photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from fiftyone_plugin.masks.upsample import resize_scores
from fiftyone_plugin.methods.lightcluster.method import LightCluster

from ..synthetic import GRID, MemorySource, make_image, scene, scenes
from .helpers import check_scores, method, state_bytes

# --- what it is for -------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["border", "attention", "both"])
@pytest.mark.parametrize("refine", ["none", "crf"])
def test_finds_objects_and_tells_their_kinds_apart(rule, refine):
    source = scenes(12)
    fitted = method(foreground_rule=rule, refine=refine).fit(source)
    assert fitted.n_classes_ == 3
    kinds, classes = [], []
    for i, image in enumerate(source):
        mask, truth = check_scores(fitted.predict(image), image.size, 3), scene(i)
        overlap = ((mask > 0) & (truth > 1)).sum() / ((mask > 0) | (truth > 1)).sum()
        assert overlap > (0.77 if refine == "crf" else 0.6)  # patches are 8 of 64 pixels wide
        (found,) = set(np.unique(mask)) - {0}
        kinds.append(truth.max())
        classes.append(found)
    assert adjusted_rand_score(kinds, classes) == 1.0


def test_classes_are_numbered_by_falling_area():
    source = MemorySource(make_image(scene(i, kinds=1 + (i % 4 == 0)), f"{i}.png") for i in range(16))
    fitted = method(n_classes=2).fit(source)
    area = np.bincount(np.concatenate([fitted.predict(image).argmax().ravel() for image in source]))
    assert area[1] > area[2] > 0


def test_layers_are_what_the_settings_need():
    assert LightCluster().inputs == ("k-1", "cls")
    assert LightCluster(layer="t9", foreground_rule="both").inputs == ("t9", "cls", "attn")


def test_numbers_of_numpy_become_plain_ones():
    assert LightCluster(n_classes=np.int64(7)).get_config()["n_classes"] == 7
    json.dumps(LightCluster(n_classes=np.int64(7), temperature=np.float32(0.5)).get_config())


# --- scores ---------------------------------------------------------------------------------------


def test_argmax_is_the_class_of_the_region():
    """Every region shows its own class throughout, and nothing outside the regions has one."""
    from fiftyone_plugin.masks.regions import connected_regions

    source = scenes(8)
    fitted = method().fit(source)
    for image in source:
        mask = fitted.predict(image).argmax()
        foreground = resize_scores(
            fitted._regions_of([image])[0]["foreground"][None] / np.float32(255), *image.size
        )
        regions = connected_regions(foreground[0] > 0.5, 0.01, 8)
        for number in range(1, regions.max() + 1):
            assert len(np.unique(mask[regions == number])) == 1
        np.testing.assert_array_equal(mask > 0, regions > 0)


def test_several_classes_in_one_image():
    two = np.zeros((64, 64), np.int64)
    two[8:56, 8:24], two[8:56, 40:56] = 2, 3
    source = MemorySource([*scenes(12, noise=0.02), make_image(two, "two.png")])
    fitted = method().fit(source)
    scores = fitted.predict(source[-1])
    mask = check_scores(scores, (64, 64), 3)
    assert len(scores.labels) == 3
    assert len(set(mask[30, [12, 20]])) == 1
    assert mask[30, 16] != mask[30, 48]
    assert mask[30, 32] == 0


def test_regions_that_are_too_small_or_too_many_are_background():
    spots = np.zeros((80, 80), np.int64)
    for row in (10, 30, 50):  # patches are 10 pixels wide
        spots[row : row + 10, 10:20] = 2
        spots[row : row + 10, 50:70] = 3
    source = MemorySource([*scenes(10), make_image(spots, "spots.png")])
    # what a single patch leaves after up-sampling is less than 1 % of the image
    for options, expected in (
        ({"min_region": 0.001}, 6),
        ({}, 3),
        ({"max_regions": 2}, 2),
        ({"min_region": 0.9}, 1),
    ):
        fitted = method(**options).fit(source)
        (found,) = fitted._regions_of([source[-1]])
        assert len(found["area"]) == len(found["cls"]) == expected
        assert (np.diff(found["area"]) <= 0).all()
        check_scores(fitted.predict(source[-1]), (80, 80), 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 4), st.integers(0, 2**31))
def test_invariants_hold_for_any_image(fitted, height, width, kinds, seed):
    labels = np.random.default_rng(seed).integers(0, kinds + 1, (height, width))
    image = make_image(labels, "random.png", noise=1.0)
    first = fitted.predict(image)
    check_scores(first, (height, width), fitted.n_classes_)
    again = fitted.predict(make_image(labels, "random.png", noise=1.0))
    assert first.scores.tobytes() == again.scores.tobytes()


@pytest.fixture(scope="module")
def fitted() -> LightCluster:
    return method().fit(scenes(10))


# --- what decides, and what does not --------------------------------------------------------------


def test_the_decision_depends_on_features_alone(fitted):
    """Without refinement, other pixels under the same features and digest change nothing."""
    image = make_image(scene(3), "a.png")
    other = make_image(scene(3), "a.png")
    other.read_image = lambda: np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fitted.vote(image), fitted.vote(other))
    np.testing.assert_array_equal(
        fitted._regions_of([image])[0]["foreground"], fitted._regions_of([other])[0]["foreground"]
    )
    votes = fitted.vote(image)
    assert votes.shape == (2, GRID, GRID)
    np.testing.assert_allclose(votes.sum(0), 1, atol=1e-6)


def test_names_play_no_part():
    first = method().fit(scenes(8))
    renamed = scenes(8)
    for i, image in enumerate(renamed):
        image.key = f"other/{i}.jpg"
    assert state_bytes(method().fit(renamed)) == state_bytes(first)


def test_same_seed_same_bytes_other_seed_not():
    source = scenes(12, noise=0.8)
    options = {"n_dataset_clusters": 3, "batch_size": 64}
    first = method(**options, random_state=5).fit(source)
    assert state_bytes(method(**options, random_state=5).fit(source)) == state_bytes(first)
    assert state_bytes(method(**options, random_state=6).fit(source)) != state_bytes(first)


def test_number_of_processes_changes_nothing():
    one, two = (method(n_jobs=n).fit(scenes(6)) for n in (1, 2))
    assert state_bytes(one) == state_bytes(two)
    source = scenes(6, memo=True)
    two.prefetch(list(source))
    for image, with_memo in zip(scenes(6), source, strict=True):
        assert len(with_memo.memo) == 1
        assert one.predict(image).scores.tobytes() == two.predict(with_memo).scores.tobytes()


def test_memory_of_an_image_is_used_and_bound_to_the_fit():
    source = scenes(6, memo=True)
    fitted = method().fit(source)
    expected = [fitted.predict(image).scores.tobytes() for image in source]

    def refuse(*_):
        raise AssertionError("computed again although it is remembered")

    for image in source:
        image.crop_cls = image.read_image = refuse
        image.layers = {}
    assert [fitted.predict(image).scores.tobytes() for image in source] == expected
    # another fit must not take what this one has left
    other = method(min_region=0.02).fit(scenes(6))
    with pytest.raises(KeyError):
        other.predict(source[0])


def test_bounded_number_of_passes_over_the_source():
    """One pass for the sample and one for the regions; nothing holds on to all images."""

    class Counting(MemorySource):
        passes = 0

        def __iter__(self):
            Counting.passes += 1
            return super().__iter__()

    method().fit(Counting(scenes(5)))
    assert Counting.passes == 2


# --- with the real backbone -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo_items(photos):
    from fiftyone_plugin.images.listing import list_images

    return [
        item for item in list_images(photos) if item.key in ("astronaut.jpg", "chelsea.jpg", "coffee.jpg")
    ]


def real_source(backbone, items, fitted: LightCluster, **options):
    from fiftyone_plugin.features.source import ImageFeatureSource

    return ImageFeatureSource(items, backbone, fitted.inputs, **{"size": 140, "crop_size": 98, **options})


def test_photos_two_fits_are_equal_whatever_the_batch_and_the_processes(backbone, photo_items):
    results = []
    for batch_size, jobs in ((1, 1), (3, 2)):
        fitted = LightCluster(n_classes=3, refine="none", n_jobs=jobs, foreground_rule="both")
        source = real_source(backbone, photo_items, fitted, batch_size=batch_size)
        fitted.fit(source)
        masks = [fitted.predict(image).scores.tobytes() for image in source]
        results.append((state_bytes(fitted), masks))
    assert results[0] == results[1]


def test_photos_get_sensible_masks(backbone, photo_items):
    fitted = LightCluster(n_classes=3, refine="none", n_jobs=1)
    source = real_source(backbone, photo_items, fitted, size=224)
    fitted.fit(source)
    for image in source:
        mask = check_scores(fitted.predict(image), image.size, 3)
        covered = mask > 0
        assert 0.05 < covered.mean() < 0.9
        centre = covered[image.size[0] // 4 : -image.size[0] // 4, image.size[1] // 4 : -image.size[1] // 4]
        assert centre.mean() > covered.mean()  # what these photographs are of is in the middle
