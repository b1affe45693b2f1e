from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation import (
    PROTOCOLS,
    Mapping,
    evaluate_pairs,
    parse_classes,
)

from .references import masks, pairs

NAMES = {1: "sky", 2: "grass", 3: "road"}


def test_the_whole_way_against_scikit_learn():
    data = pairs()
    result = evaluate_pairs(data, NAMES, ignore=[0], replicates=0)
    pred = np.concatenate([p[t != 0] for _, p, t in data])
    true = np.concatenate([t[t != 0] for _, _, t in data])
    assert {k: result.mapping.clusters[k] for k in (10, 20, 30)} == {10: 1, 20: 2, 30: 3}
    named = np.select([pred == 10, pred == 20, pred == 30], [1, 2, 3], 99)
    expected = jaccard_score(true, named, labels=[1, 2, 3], average=None)
    np.testing.assert_allclose([entry["iou"] for entry in result.per_class], expected)
    assert result.scores["miou"] == pytest.approx(expected.mean())
    assert result.scores["pixel_accuracy"] == pytest.approx((named == true).mean())
    assert result.coverage == pytest.approx((pred != 0).mean())
    assert (result.n_images, result.n_pixels, result.n_clusters, result.n_classes) == (12, true.size, 5, 3)
    assert [entry["clusters"] for entry in result.per_class] == [[10], [20], [30]]


def test_scores_per_image_under_the_pooled_mapping():
    data = pairs(4)
    result = evaluate_pairs(data, NAMES, ignore=[0], replicates=0)
    for i, (_, pred, true) in enumerate(data):
        scored = true != 0
        named = np.select([pred == 10, pred == 20, pred == 30], [1, 2, 3], 99)[scored]
        expected = jaccard_score(true[scored], named, labels=np.unique(true[scored]), average="macro")
        assert result.images["iou"][i] == pytest.approx(expected)
        assert result.images["accuracy"][i] == pytest.approx((named == true[scored]).mean())
        assert result.images["coverage"][i] == pytest.approx((pred[scored] != 0).mean())
    assert result.scores["miou_per_image"] == pytest.approx(np.mean(result.images["iou"]))
    worst = result.worst(2)
    assert worst[0] == result.images["name"][int(np.argmin(result.images["iou"]))]


@given(st.lists(masks(4), min_size=1, max_size=4), st.permutations(range(1, 5)))
@example(
    images=[(np.array([[p]]), np.array([[t]])) for p, t in ((4, 2), (1, 0), (3, 0))]
    + [(np.array([[4, 0]]), np.array([[1, 1]]))],
    order=[1, 2, 4, 3],
)
@settings(max_examples=40)
def test_names_of_clusters_do_not_matter(images, order):
    lut = np.array([0, *order])
    plain = [(str(i), p, t) for i, (p, t) in enumerate(images)]
    renamed = [(name, lut[p], t) for name, p, t in plain]
    for protocol in ("iou-hungarian", "count-hungarian", "majority", "alignseg_per_image"):
        a, b = (evaluate_pairs(data, protocol=protocol, replicates=0) for data in (plain, renamed))
        # one-to-one ties may be broken otherwise, the sum they maximise stays
        if protocol == "iou-hungarian":
            iou = [sum(e["iou"] for e in r.per_class if not math.isnan(e["iou"])) for r in (a, b)]
            assert iou[0] == pytest.approx(iou[1])
        else:
            assert a.scores["pixel_accuracy"] == pytest.approx(b.scores["pixel_accuracy"])


@given(st.lists(masks(4), min_size=1, max_size=4))
@settings(max_examples=40)
def test_every_score_lies_in_its_range(images):
    data = [(str(i), p, t) for i, (p, t) in enumerate(images)]
    for protocol in PROTOCOLS:
        if protocol == "unmatched-background" and not any((t == 0).any() for _, _, t in data):
            continue
        result = evaluate_pairs(data, protocol=protocol, replicates=0)
        for name, value in result.scores.items():
            assert math.isnan(value) or (-1 if name == "ari" else 0) <= value <= 1


def test_a_perfect_prediction_under_other_names_scores_one():
    data = [(name, true * 3, true) for name, _, true in pairs()]
    for protocol in set(PROTOCOLS) - {"identity", "foreground", "unmatched-background"}:
        result = evaluate_pairs(data, ignore=[0], protocol=protocol, replicates=0, boundary=0.01)
        assert all(value == 1 for value in result.scores.values()), protocol
    assert evaluate_pairs(data, ignore=[0], protocol="identity", replicates=0).scores["pixel_accuracy"] < 1


def test_identity_counts_ids_that_are_no_class_as_errors():
    true = np.array([[1, 1, 2, 2]])
    data = [("a", np.array([[1, 2, 2, 9]]), true)]
    result = evaluate_pairs(data, {1: "sky", 2: "sea", 3: "sand"}, protocol="identity", replicates=0)
    assert result.scores["pixel_accuracy"] == 0.5
    assert [e["iou"] for e in result.per_class[:2]] == [0.5, pytest.approx(1 / 3)]
    assert math.isnan(result.per_class[2]["iou"])
    assert result.scores["miou"] == pytest.approx((0.5 + 1 / 3) / 2)


def test_zero_can_be_a_class():
    data = [("a", np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 1]]))]
    assert evaluate_pairs(data, protocol="identity", replicates=0).scores["pixel_accuracy"] == 0.5
    whole = evaluate_pairs(data, protocol="identity", unlabelled=None, replicates=0)
    assert whole.scores["miou"] == 1
    assert whole.coverage == 1


def test_more_clusters_than_classes_and_fewer():
    data = [("a", np.array([[1, 1, 2, 3]]), np.array([[1, 1, 1, 2]]))]
    assert evaluate_pairs(data, replicates=0).mapping.clusters == {1: 1, 3: 2}
    few = evaluate_pairs([("a", np.array([[7, 7, 7]]), np.array([[1, 1, 2]]))], replicates=0)
    assert few.mapping.clusters == {7: 1}
    assert few.scores["miou"] == pytest.approx((2 / 3 + 0) / 2)


def test_unmatched_clusters_become_background():
    # clusters: 1 on class 1, 2 and 3 on the background 0
    true = np.array([[1, 1, 0, 0, 0, 0]])
    pred = np.array([[1, 1, 2, 2, 3, 0]])
    plain = evaluate_pairs([("a", pred, true)], replicates=0)
    assert plain.scores["pixel_accuracy"] == pytest.approx(4 / 6)
    filled = evaluate_pairs([("a", pred, true)], protocol="unmatched-background", replicates=0)
    assert filled.scores["pixel_accuracy"] == 1
    assert filled.coverage == pytest.approx(5 / 6)
    assert filled.mapping.unmatched == 0


def test_datus_drops_what_has_no_class():
    # three clusters for two classes: cluster 3 is left over and dropped, as are unlabelled pixels
    true = np.array([[1, 1, 1, 2, 2, 2, 2, 2]])
    pred = np.array([[1, 1, 2, 2, 2, 3, 3, 0]])
    result = evaluate_pairs([("a", pred, true)], protocol="datus_drop", replicates=0)
    # by hand: kept pixels 1 1 2 2 2 against 1 1 1 2 2
    assert result.scores["pixel_accuracy"] == pytest.approx(4 / 5)
    assert result.scores["miou"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert result.kept == pytest.approx(5 / 8)
    honest = evaluate_pairs([("a", pred, true)], protocol="count-hungarian", replicates=0)
    assert honest.scores["pixel_accuracy"] == pytest.approx(4 / 8)
    assert honest.kept == 1


def test_alignseg_matches_within_every_image():
    # cluster 1 is class 1 in one image and class 2 in the other
    data = [
        ("a", np.array([[1, 1, 2]]), np.array([[1, 1, 2]])),
        ("b", np.array([[1, 2, 2]]), np.array([[2, 1, 1]])),
    ]
    result = evaluate_pairs(data, protocol="alignseg_per_image", replicates=0)
    assert result.scores["miou"] == 1
    assert result.mapping is None
    assert evaluate_pairs(data, replicates=0).scores["miou"] < 1


def test_alignseg_by_hand():
    true = np.array([[1, 1, 1, 2, 2, 3]])
    pred = np.array([[1, 1, 2, 2, 2, 2]])
    result = evaluate_pairs([("a", pred, true)], protocol="alignseg_per_image", replicates=0)
    # region 1 -> class 1 (2 of 3), region 2 -> class 2 (2 of 4), class 3 is missed
    assert result.scores["miou"] == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert result.scores["miou_without_first"] == pytest.approx((2 / 4 + 0) / 2)


def test_foreground_by_hand():
    true = np.zeros((10, 10), np.uint8)
    true[:, :5] = 255
    pred = np.zeros((10, 10), np.uint16)
    pred[:, :4], pred[:5, 9] = 3, 7
    empty = ("b", np.zeros((4, 4), int), np.ones((4, 4), int))
    result = evaluate_pairs([("a", pred, true), empty], protocol="foreground", replicates=0)
    precision, recall = 40 / 45, 40 / 50
    f_beta = 1.3 * precision * recall / (0.3 * precision + recall)
    assert result.images["iou"] == pytest.approx([40 / 55, 0])
    assert result.images["f_beta"] == pytest.approx([f_beta, 0])
    assert result.images["mae"] == pytest.approx([15 / 100, 1])
    assert result.images["box_found"] == [1, 0]
    assert result.scores["corloc"] == 0.5
    assert result.scores["iou"] == pytest.approx(20 / 55)
    assert result.scores["iou_pooled"] == pytest.approx(40 / (55 + 16))


def test_foreground_leaves_ignored_pixels_out():
    true, pred = np.array([[1, 0, 255, 255]]), np.array([[1, 0, 1, 0]])
    result = evaluate_pairs([("a", pred, true)], ignore=[255], protocol="foreground", replicates=0)
    assert result.n_pixels == 2
    assert result.scores["iou"] == 1
    assert result.scores["mae"] == 0


# --- mappings over splits ------------------------------------------------------------------------


def test_a_mapping_learnt_on_one_split_is_applied_to_another():
    train = evaluate_pairs(pairs(8, seed=1), NAMES, ignore=[0], replicates=0)
    test = evaluate_pairs(pairs(8, seed=2), NAMES, ignore=[0], mapping=train.mapping, replicates=0)
    oracle = evaluate_pairs(pairs(8, seed=2), NAMES, ignore=[0], replicates=0)
    assert test.protocol == "iou-hungarian"
    assert test.mapping.clusters == train.mapping.clusters
    assert test.settings["mapping"] == "given"
    assert sum(e["iou"] for e in test.per_class) <= sum(e["iou"] for e in oracle.per_class) + 1e-12


def test_a_mapping_to_a_class_that_is_absent_costs_that_class():
    mapping = Mapping({1: 1, 2: 5}, "majority", names={5: "boat"})
    result = evaluate_pairs([("a", np.array([[1, 2]]), np.array([[1, 1]]))], mapping=mapping, replicates=0)
    assert [(e["id"], e["iou"]) for e in result.per_class] == [(1, 0.5), (5, 0.0)]
    assert result.mapping.names == {1: "1", 5: "boat"}


def test_a_mapping_to_an_ignored_class_is_an_error_of_the_pixel():
    mapping = Mapping({1: 1, 2: 5}, "majority")
    result = evaluate_pairs(
        [("a", np.array([[1, 2, 2]]), np.array([[1, 1, 5]]))], ignore=[5], mapping=mapping, replicates=0
    )
    assert [(e["id"], e["iou"]) for e in result.per_class] == [(1, 0.5)]


@pytest.mark.parametrize("protocol", ["alignseg_per_image", "foreground"])
def test_protocols_without_a_mapping_take_none(protocol):
    with pytest.raises(UsageError, match="none can be given"):
        evaluate_pairs(pairs(1), protocol=protocol, mapping=Mapping({}, "majority"))


# --- classes and errors ----------------------------------------------------------------------------


def test_ids_without_a_name_are_refused():
    with pytest.raises(UsageError, match=r"ids \[0\] that the classes do not name: ignore them"):
        evaluate_pairs(pairs(1), NAMES)


def test_declared_classes_that_do_not_occur_change_no_score():
    few = evaluate_pairs(pairs(), NAMES, ignore=[0], replicates=0)
    many = evaluate_pairs(pairs(), {**NAMES, 7: "boat"}, ignore=[0], replicates=0)
    assert many.n_classes == 4
    assert few.scores == pytest.approx(many.scores)


def test_errors_name_the_image():
    good, small = np.ones((2, 2), int), np.ones((1, 2), int)
    with pytest.raises(UsageError, match=r"^here/b: the prediction is 1x2 .* 2x2"):
        evaluate_pairs([("a", good, good), ("here/b", small, good)])


@pytest.mark.parametrize("data", [[], [("a", np.ones((2, 2), int), np.zeros((2, 2), int))]])
def test_nothing_to_score_is_an_error(data):
    with pytest.raises(UsageError, match="nothing to score"):
        evaluate_pairs(data, ignore=[0])


def test_an_image_that_is_ignored_altogether_is_listed_without_values():
    data = [*pairs(2), ("void", np.ones((4, 4), int), np.zeros((4, 4), int))]
    result = evaluate_pairs(data, ignore=[0], replicates=50)
    assert result.images["name"][-1] == "void"
    assert math.isnan(result.images["iou"][-1])
    assert "void" not in result.worst(3)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["void", "sky"], {0: "void", 1: "sky"}),
        ({"7": "sea"}, {7: "sea"}),
        ({3: "x"}, {3: "x"}),
        (None, None),
    ],
)
def test_classes_as_list_or_by_id(classes, expected):
    assert parse_classes(classes) == expected


@pytest.mark.parametrize("classes", [{"sky": 1}, {}, [], {-1: "x"}, "sky", 5])
def test_other_classes_are_refused(classes):
    with pytest.raises(UsageError, match="classes"):
        parse_classes(classes)
