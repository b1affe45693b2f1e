"""Taught: labels, names of clusters, both, and neither; saved, loaded, and what was never shown."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.methods.mosaic import Mosaic
from fiftyone_plugin.methods.registry import create_method, list_methods
from fiftyone_plugin.methods.taught import Taught
from fiftyone_plugin.methods.taught.head import LIFT, lifts, mixed
from fiftyone_plugin.methods.taught.lesson import patch_shares
from fiftyone_plugin.runs.model import load_method, save_method

from .. import test_contract
from ..synthetic import MemorySource, batch_of, scene, scenes

SMALL = {"layers": ["out"], "cuts": [["out", 2], ["stack", 3]], "cue": "out", "whiten": 8, "refine": "none"}
IDS = [3, 7, 11, 12, 20]
NAMES = {3: "sky", 7: "grass", 11: "cup", 12: "ball", 20: "egg"}


@pytest.fixture(scope="module")
def source() -> MemorySource:
    return scenes(12)


@pytest.fixture(scope="module")
def mosaic(source) -> Mosaic:
    return Mosaic(5, **SMALL).fit(source)


def truth(number: int) -> np.ndarray:
    """The true ids of a scene."""
    return np.array(IDS)[scene(number)]


def pupils(method: Taught, source: MemorySource, shown: tuple[int, ...]) -> tuple[list, list]:
    images = list(source)
    ids = sorted(NAMES)
    shares = {images[i].key: patch_shares(truth(i), ids, images[i].grid) for i in shown}
    found = [method.pupils(batch_of([image]), shares)[0] for image in images]
    rest = [found[i] for i in range(len(images)) if i not in shown]
    return [found[i] for i in shown], rest


def accuracy(method: Taught, source: MemorySource, skip: tuple[int, ...] = ()) -> float:
    right = []
    for i, image in enumerate(source):
        if i not in skip:
            wanted = patch_shares(truth(i), IDS, image.grid).argmax(1).reshape(image.grid)
            right.append((method.predict(image).argmax() == np.array(IDS)[wanted]).mean())
    return float(np.mean(right))


def taught(mosaic: Mosaic, source: MemorySource, shown: tuple[int, ...], **options) -> Taught:
    method = Taught.of(mosaic, **options)
    seen = {IDS[k] for i in shown for k in np.unique(scene(i))}
    labelled, others = pupils(method, source, shown)
    columns = [column for column, id_ in enumerate(sorted(NAMES)) if id_ in seen]
    for one in labelled:
        object.__setattr__(one, "shares", one.shares[:, columns])
    return method.teach(labelled, others, {id_: NAMES[id_] for id_ in sorted(seen)})


def test_shares_of_patches_are_those_of_a_loop_over_the_pixels():
    mask = np.random.default_rng(0).integers(0, 4, (37, 53))
    found = patch_shares(mask, [3, 1], (4, 5))
    rows, columns = (np.arange(37) + 0.5) * 4 // 37, (np.arange(53) + 0.5) * 5 // 53
    for row in range(4):
        for column in range(5):
            inside = mask[np.ix_(rows == row, columns == column)]
            assert found[5 * row + column] == pytest.approx([(inside == 3).mean(), (inside == 1).mean()])


def test_three_labelled_scenes_label_the_others_with_the_ids_of_the_person(mosaic, source):
    method = taught(mosaic, source, (0, 1, 2, 3))
    assert method.class_names == {id_: NAMES[id_] for id_ in sorted(method.class_names)}
    assert accuracy(method, source, (0, 1, 2, 3)) > 0.9


def test_without_a_lesson_it_is_mosaic(mosaic, source):
    method = Taught.of(mosaic)
    for image in source:
        assert np.array_equal(method.predict(image).scores, mosaic.predict(image).scores)
    assert method.class_names == mosaic.class_names


def majority_names(mosaic: Mosaic, source: MemorySource) -> dict[int, int]:
    table = np.zeros((mosaic.n_classes_ + 1, len(IDS)))
    for i, image in enumerate(source):
        found = mosaic.predict(image).argmax()
        shares = patch_shares(truth(i), IDS, image.grid)
        np.add.at(table, found.ravel(), shares)
    return {k: IDS[int(table[k].argmax())] for k in range(1, len(table))}


def test_named_clusters_are_mosaics_masks_with_other_ids(mosaic, source):
    names = majority_names(mosaic, source)
    method = Taught.of(mosaic).name_clusters(names, {k: NAMES[k] for k in set(names.values())})
    for image in source:
        wanted = np.vectorize(names.get)(mosaic.predict(image).argmax())
        assert (method.predict(image).argmax() == wanted).mean() > 0.97  # merged before they are spread
    with pytest.raises(UsageError, match="no cluster 9: this model has 1 to"):
        Taught.of(mosaic).name_clusters({9: 3}, NAMES)


def test_names_fill_in_what_no_labelled_image_shows(mosaic, source):
    names = majority_names(mosaic, source)
    named = Taught.of(mosaic).name_clusters(names, {k: NAMES[k] for k in set(names.values())})
    alone = taught(mosaic, source, (0,))
    both = taught(named, source, (0,))
    assert set(both.class_names) == set(names.values()) | set(alone.class_names)
    assert accuracy(both, source) >= max(accuracy(alone, source), 0.85)


def test_clusters_that_nobody_has_labelled_stay_on_request(mosaic, source):
    plain, found = taught(mosaic, source, (0,)), taught(mosaic, source, (0,), discover=2)
    more = {k: v for k, v in found.class_names.items() if k not in plain.class_names}
    assert list(more.values()) == [f"other {i + 1}" for i in range(len(more))]
    assert more
    seen = set(np.unique([found.predict(image).argmax() for image in source]).tolist())
    assert seen & more.keys()


def test_saved_and_loaded_it_labels_to_the_byte(mosaic, source, tmp_path):
    method = taught(mosaic, source, (0, 1, 2), discover=1)
    again = taught(mosaic, source, (0, 1, 2), discover=1)
    save_method(method, tmp_path / "a")
    save_method(again, tmp_path / "b")
    for file in ("method.json", "arrays.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    loaded = load_method(tmp_path / "a")
    assert isinstance(loaded, Taught)
    assert loaded.class_names == method.class_names
    for image in source:
        assert loaded.predict(image).scores.tobytes() == method.predict(image).scores.tobytes()
    together = loaded.predict_batch(batch_of(list(source)))
    for image, scores in zip(source, together, strict=True):
        assert scores.to_numpy().scores.tobytes() == method.predict(image).scores.tobytes()
    with pytest.raises(UsageError, match="another number of classes"):
        loaded.recut(2)


@pytest.mark.parametrize("wrong", ["mix", "names", "array"])
def test_a_damaged_record_is_refused(mosaic, source, wrong):
    values, arrays = taught(mosaic, source, (0, 1)).get_state()
    if wrong == "mix":
        values["taught"]["mix"] = 7
    elif wrong == "names":
        values["taught"]["names"] = {"70000": "x"}
    else:
        arrays["taught.bias"] = arrays["taught.bias"][:1]
    with pytest.raises(UsageError):
        Taught(5, **SMALL).set_state(values, arrays)


def test_mixed_leaves_unseen_classes_to_the_clusters_and_unnamed_clusters_to_the_head():
    head, clusters = np.array([[0.7, 0.3, 0.0]]), np.array([[0.2, 0.0, 0.5]])
    seen = np.array([True, True, False])
    found = mixed(head, clusters, seen, 0.5)
    assert found == pytest.approx(np.array([[0.1 + 0.4 * 0.7, 0.4 * 0.3, 0.5]]))
    assert found.sum() == pytest.approx(1)
    assert mixed(head, 0 * clusters, seen, 1.0) == pytest.approx(head)


class TestContract:
    """What holds for every method holds for this one, which nobody chooses by name."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        monkeypatch.setitem(test_contract.SMALL, "taught", test_contract.SMALL["mosaic"])

    def test_it_is_an_estimator(self):
        assert "taught" not in list_methods()
        assert create_method("taught").name == "taught"
        test_contract.check_an_estimator("taught")
        test_contract.check_wrong_options("taught")
        test_contract.check_not_fitted("taught")

    def test_same_seed_same_bytes(self, tmp_path):
        test_contract.check_same_seed_same_bytes("taught", tmp_path)

    def test_little_to_go_on(self):
        test_contract.check_little_to_go_on("taught")


def test_classes_that_no_cluster_is_named_after_count_more():
    matrix = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
    seen = np.array([True, False, True, False])
    assert lifts(matrix, seen, 0.5) == pytest.approx([1, 1, 1 + LIFT / 2, 1])
    assert lifts(matrix, seen, 1.0) == pytest.approx(1)
    assert lifts(0 * matrix, seen, 0.5) == pytest.approx(1)  # clusters without names outvote nobody
