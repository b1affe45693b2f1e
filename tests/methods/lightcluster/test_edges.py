"""LightCluster where there is next to nothing to find, and on images that fail on the way."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin.errors import ImageReadError
from fiftyone_plugin.methods.lightcluster.levels import ForegroundClusters
from fiftyone_plugin.methods.lightcluster.method import LightCluster
from fiftyone_plugin.runs.model import load_method, save_method

from ..synthetic import MemorySource, make_image, scene, scenes
from .helpers import check_scores, method


@pytest.fixture(scope="module")
def fitted() -> LightCluster:
    return method().fit(scenes(10))


# --- degenerate outcomes --------------------------------------------------------------------------


def test_one_image():
    source = MemorySource([make_image(scene(2), "only.png")])
    fitted = method().fit(source)
    assert fitted.n_classes_ == 1
    mask = check_scores(fitted.predict(source[0]), (64, 64), 1)
    assert set(np.unique(mask)) == {0, 1}


def test_fewer_regions_than_classes(caplog):
    source = scenes(3)
    fitted = method(n_classes=20).fit(source)
    assert 1 <= fitted.n_classes_ <= 3
    assert "20 classes asked for, but only" in caplog.text
    for image in source:
        assert (check_scores(fitted.predict(image), (64, 64), fitted.n_classes_) > 0).any()


def test_identical_images():
    source = MemorySource(make_image(scene(1), f"{i}.png") for i in range(5))
    fitted = method().fit(source)
    assert fitted.n_classes_ == 1
    masks = {fitted.predict(image).argmax().tobytes() for image in source}
    assert len(masks) == 1
    assert (fitted.predict(source[0]).argmax() == 1).any()


def test_images_without_contrast_are_background(caplog):
    """All patches equal: one cluster, which touches the border as much as the average: nothing stands out."""
    source = MemorySource(make_image(np.zeros((40, 30 + i), np.int64), f"{i}.png", noise=0) for i in range(3))
    fitted = method().fit(source)
    assert fitted.n_classes_ == 0
    assert "no foreground was found in any image" in caplog.text
    for image in source:
        scores = fitted.predict(image)
        assert not check_scores(scores, image.size, 0).any()
        assert scores.labels.tolist() == [0]


def test_model_without_any_class_can_be_saved_and_labels_new_images(tmp_path):
    source = MemorySource([make_image(np.zeros((40, 30), np.int64), "a.png", noise=0)])
    save_method(method().fit(source), tmp_path)
    again = load_method(tmp_path)
    mask = check_scores(again.predict(make_image(scene(0), "new.png")), (64, 64), 0)
    assert not mask.any()


def with_levels(fitted: LightCluster, dataset, groups) -> LightCluster:
    """Replace which clusters are foreground, at the data-set level and in every group."""
    import copy

    changed = copy.deepcopy(fitted)
    level = changed.levels_.dataset
    changed.levels_.dataset = ForegroundClusters(level.centers, dataset(level.foreground))
    for category in changed.levels_.categories:
        category.groups = [ForegroundClusters(g.centers, groups(g.foreground)) for g in category.groups]
    return changed


def test_vote_that_leaves_nothing_falls_back_to_the_dataset_level(fitted):
    image = make_image(scene(3), "a.png")
    changed = with_levels(fitted, lambda f: f, np.zeros_like)
    expected = changed.levels_.dataset.soft(changed.levels_.normalizer.transform(image["out"]), 0.1)
    np.testing.assert_array_equal(changed.vote(image)[1].ravel(), expected)
    assert (changed.predict(image).argmax() > 0).any()


def test_vote_for_everything_falls_back_to_the_dataset_level(fitted):
    image = make_image(scene(3), "a.png")
    changed = with_levels(fitted, lambda f: f, np.ones_like)
    expected = changed.levels_.dataset.soft(changed.levels_.normalizer.transform(image["out"]), 0.1)
    np.testing.assert_array_equal(changed.vote(image)[1].ravel(), expected)
    mask = changed.predict(image).argmax()
    assert 0 < (mask > 0).mean() < 0.9


def test_all_levels_for_everything_is_one_region(fitted):
    image = make_image(scene(3), "a.png")
    mask = check_scores(with_levels(fitted, np.ones_like, np.ones_like).predict(image), (64, 64), 3)
    assert (mask > 0).all()
    assert len(np.unique(mask)) == 1


def test_all_levels_for_nothing_is_background(fitted):
    image = make_image(scene(3), "a.png")
    scores = with_levels(fitted, np.zeros_like, np.zeros_like).predict(image)
    assert not check_scores(scores, (64, 64), 3).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (2, 300)])
@pytest.mark.parametrize("refine", ["none", "crf"])
def test_tiny_and_thin_images(size, refine):
    odd = make_image(np.full(size, 3, np.int64), "odd.png")
    source = MemorySource([*scenes(6), odd])
    fitted = method(refine=refine).fit(source)
    check_scores(fitted.predict(odd), size, 3)
    alone = method(refine=refine).fit(MemorySource([odd]))
    check_scores(alone.predict(odd), size, 3)


# --- images that fail on the way ------------------------------------------------------------------


def test_image_that_cannot_be_read_any_more(fitted):
    good, broken = make_image(scene(1), "good.png"), make_image(scene(2), "bad.png", broken=True)
    source = MemorySource([broken, good, make_image(scene(4), "bad2.png", broken=True), *scenes(4)])
    refitted = method().fit(source)  # goes on without them
    assert refitted.n_classes_ >= 1
    with pytest.raises(ImageReadError, match=r"bad.png: truncated file"):
        fitted.predict(broken)
    fitted.prefetch(list(source))
    assert (fitted.predict(good).argmax() > 0).any()


def test_image_whose_features_are_lost(fitted):
    """Features are loaded when they are asked for, and that may fail too."""

    class Lost(dict):
        def __getitem__(self, name):
            raise ImageReadError("lost.png", "no such file")

    lost = make_image(scene(1), "lost.png", memo=True)
    lost.layers = Lost()
    others = scenes(3, memo=True)
    fitted.prefetch([others[0], lost, *others[1:]])
    assert [len(image.memo) for image in others] == [1, 1, 1]
    assert len(lost.memo) == 0
    with pytest.raises(ImageReadError, match=r"lost.png: no such file"):
        fitted.predict(lost)
