"""The default method on made-up scenes of known kinds, and what it does when there is little to go on."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.methods.mosaic.graph import links_between_images
from fiftyone_plugin.methods.mosaic.method import Mosaic
from fiftyone_plugin.methods.registry import create_method
from fiftyone_plugin.runs.model import load_method, save_method

from ..synthetic import GRID, MemorySource, make_image, scene, scenes

SMALL = {
    "layers": ["out"],
    "cuts": [("out", 2), ("stack", 3)],
    "cue": "out",
    "whiten": 8,
    "n_jobs": 1,
    "blur": 0.0,
}


def truth(image_index: int) -> np.ndarray:
    labels = scene(image_index)
    step = labels.shape[0] // GRID
    return labels[step // 2 :: step, step // 2 :: step]


def predicted(method: Mosaic, images: MemorySource) -> np.ndarray:
    return np.stack([method.predict(image).argmax() for image in images])


@pytest.fixture(scope="module")
def fitted() -> Mosaic:
    return Mosaic(5, **SMALL).fit(scenes(24))


def test_inputs_are_what_the_options_need():
    assert Mosaic().inputs == ("t-4", "t-3", "t-1", "out", "k-1", "cls")
    assert Mosaic(cuts=[("stack", 4)], cue_regions=0, foreground=0).inputs == ("t-4", "t-3", "t-1", "cls")


def test_kinds_of_surfaces_and_objects_become_classes(fitted):
    images = scenes(24)
    found = predicted(fitted, images)
    expected = np.stack([truth(i) for i in range(24)])
    assert adjusted_rand_score(expected.ravel(), found.ravel()) > 0.95
    assert set(np.unique(found)) == {1, 2, 3, 4, 5}
    area = np.bincount(found.ravel())[1:]
    assert list(area) == sorted(area, reverse=True)


def test_new_images_get_the_same_classes(fitted):
    fresh = MemorySource(make_image(scene(i), f"new{i}.png", noise=0.06) for i in range(30, 40))
    expected = np.stack([truth(i) for i in range(30, 40)])
    assert adjusted_rand_score(expected.ravel(), predicted(fitted, fresh).ravel()) > 0.95


def test_scores_are_probabilities_of_classes_that_win_somewhere(fitted):
    for image in scenes(6):
        scores = fitted.predict(image)
        assert scores.scores.shape == (len(scores.labels), GRID, GRID)
        np.testing.assert_allclose(scores.scores.sum(0), 1, atol=1e-5)
        assert set(np.unique(scores.argmax())) == set(scores.labels.tolist())
        assert not scores.refined


def test_segments_are_borne_out_by_other_images_only(fitted):
    scored = [fitted.predict(image) for image in scenes(24)]
    for scores in scored:
        assert scores.agreement.shape == scores.labels.shape
        assert scores.agreement.dtype == np.float32
        assert scores.agreement.min() >= 0
        assert scores.agreement.max() <= 1
    assert np.mean([scores.agreement.mean() for scores in scored]) > 0.5
    # the regions of the image itself are not asked, so that a single image is borne out by nothing
    single = scenes(1)
    alone = Mosaic(2, **SMALL).fit(single)
    assert all(alone.predict(image).agreement is None for image in single)


def test_saved_and_loaded_it_says_the_same(fitted, tmp_path):
    save_method(fitted, tmp_path)
    loaded = load_method(tmp_path)
    for image in scenes(5):
        np.testing.assert_array_equal(loaded.predict(image).scores, fitted.predict(image).scores)
        ours, theirs = fitted.explain(image), loaded.explain(image)
        assert [panel.title for panel in ours] == [panel.title for panel in theirs]
    np.testing.assert_array_equal(loaded.eigenvalues_, fitted.eigenvalues_)
    assert loaded.n_classes_ == 5


def test_a_model_that_lacks_something_is_refused_by_name(fitted, tmp_path):
    save_method(fitted, tmp_path)
    arrays = load_file(str(tmp_path / "arrays.safetensors"))
    del arrays["graph.links"]
    save_file(arrays, str(tmp_path / "arrays.safetensors"))
    with pytest.raises(UsageError, match=r"lacks 'graph\.links'"):
        load_method(tmp_path)


def test_a_model_of_a_version_that_drew_images_itself_is_loaded(fitted, tmp_path):
    save_method(fitted, tmp_path)
    path = tmp_path / "method.json"
    document = json.loads(path.read_text())
    document["config"]["max_images"] = 321
    path.write_text(json.dumps(document))
    image = scenes(1)[0]
    np.testing.assert_array_equal(load_method(tmp_path).predict(image).scores, fitted.predict(image).scores)


def test_links_are_between_images_and_strong():
    rng = np.random.default_rng(0)
    shares = np.triu(rng.random((12, 12)) * (rng.random((12, 12)) < 0.6), 1)
    owners = np.repeat([5, 6, 7], 4)
    pairs, found = links_between_images(csr_matrix((shares + shares.T) ** 2), owners)
    expected = {
        (i, j): shares[i, j] ** 3
        for i in range(12)
        for j in range(i + 1, 12)
        if shares[i, j] >= 0.5 and owners[i] != owners[j]
    }
    assert 0 < len(expected) < np.count_nonzero(shares)
    assert dict(zip(map(tuple, pairs.tolist()), found.tolist(), strict=True)) == pytest.approx(expected)


def test_spreading_can_be_left_out(fitted):
    plain = Mosaic(5, **{**SMALL, "spread": False}).fit(scenes(24))
    for image in scenes(3):
        assert not np.array_equal(plain.predict(image).scores, fitted.predict(image).scores)
    # both learn the same: spreading is no part of the fit
    np.testing.assert_array_equal(plain.get_state()[1]["head.weight"], fitted.get_state()[1]["head.weight"])


def test_one_fit_can_be_cut_at_any_number_of_classes(fitted, tmp_path):
    save_method(fitted, tmp_path)
    loaded = load_method(tmp_path)
    assert loaded.can_recut
    images = scenes(6)
    np.testing.assert_array_equal(predicted(loaded.recut(5), images), predicted(fitted, images))
    for k in (1, 2, 4, 8):
        other = loaded.recut(k)
        assert other.n_classes_ == k
        assert other.get_config()["n_classes"] == k
        save_method(other, tmp_path / str(k))
        again = load_method(tmp_path / str(k))
        np.testing.assert_array_equal(predicted(again, images), predicted(other, images))
    counts = [len(np.unique(predicted(loaded.recut(k), images))) for k in (1, 2, 4, 8)]
    assert counts[:3] == [1, 2, 4]
    # there are five materials; more classes are odd regions, which need not win anywhere
    assert counts[3] >= 5
    most = len(fitted.eigenvalues_)
    with pytest.raises(UsageError, match=f"1 to {most} classes, not {most + 1}"):
        fitted.recut(most + 1)


def test_a_fit_on_next_to_nothing_says_that_it_cannot_be_cut_anew():
    fitted = Mosaic(3, **SMALL).fit(
        MemorySource([make_image(np.zeros((64, 64), np.int64), "flat.png", noise=0.0)])
    )
    with pytest.raises(UsageError, match="too few different regions"):
        fitted.recut(2)


def test_processes_and_order_of_work_do_not_change_the_result(fitted):
    again = Mosaic(5, **{**SMALL, "n_jobs": 2}).fit(scenes(24))
    for image in scenes(24):
        np.testing.assert_array_equal(again.predict(image).scores, fitted.predict(image).scores)


def test_two_classes_are_foreground_and_background():
    method = Mosaic(2, **SMALL).fit(scenes(24))
    found = predicted(method, scenes(24))
    expected = np.stack([truth(i) > 1 for i in range(24)])
    assert adjusted_rand_score(expected.ravel(), found.ravel()) > 0.9


def test_the_number_of_classes_can_be_found():
    method = Mosaic("auto", **SMALL).fit(scenes(40))
    assert 5 <= method.n_classes_ <= 8  # the range of `auto` begins at 5, which is the true number
    assert len(method.eigenvalues_) > 5


def test_a_bounded_subset_is_enough():
    method = Mosaic(5, **{**SMALL, "max_landmarks": 40}).fit(scenes(60))
    images = scenes(60)
    expected = np.stack([truth(i) for i in range(60)])
    assert adjusted_rand_score(expected.ravel(), predicted(method, images).ravel()) > 0.8


def test_a_graph_of_some_of_the_regions_says_so(caplog):
    caplog.set_level("INFO", "fiftyone_plugin")
    Mosaic(3, **{**SMALL, "max_landmarks": 1000}).fit(scenes(12))
    assert "drawn at random" not in caplog.text
    Mosaic(3, **{**SMALL, "max_landmarks": 30}).fit(scenes(12))
    (line,) = [r.getMessage() for r in caplog.records if "drawn at random" in r.getMessage()]
    assert re.match(r"\d+ regions: the classes are found on 30 of them", line)


def test_constant_images_get_one_class():
    flat = MemorySource(make_image(np.zeros((64, 64), int), f"{i}.png", noise=0.0) for i in range(3))
    assert np.unique(predicted(Mosaic(4, **SMALL).fit(flat), flat)).size == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_classes": 0}, "n_classes"),
        ({"n_classes": "many"}, "n_classes"),
        ({"layers": []}, "layers"),
        ({"layers": ["cls"]}, "layers"),
        ({"cuts": [("out",)]}, "cuts"),
        ({"cuts": [("out", 0)]}, "cuts"),
        ({"cuts": [], "cue_regions": 0}, "no regions"),
        ({"foreground": -1}, "foreground"),
        ({"whiten": 0}, "whiten"),
        ({"regularization": 0}, "regularization"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        create_method("mosaic", **options)
