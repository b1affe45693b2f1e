from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    adjusted_rand_score,
    balanced_accuracy_score,
    f1_score,
    fbeta_score,
    jaccard_score,
    normalized_mutual_info_score,
    precision_score,
    recall_score,
)

from fiftyone_plugin.evaluation import metrics
from fiftyone_plugin.evaluation.confusion import count
from fiftyone_plugin.evaluation.matching import Mapping, hungarian_iou

from .references import blocky, counts

CLASSES = np.arange(6)


def class_matrix(pred, true):
    """Pixels by predicted and true class, (7, 6); what is no class falls into the last row."""
    table = count(pred, true)
    return Mapping({int(c): int(c) for c in CLASSES}, "identity").apply_to_table(table, CLASSES)


@pytest.fixture(params=range(6))
def pair(request):
    """A prediction with half its blocks right; class 4 is only predicted, 5 neither, 9 is no class."""
    rng = np.random.default_rng(request.param)
    true = blocky(rng, 4)
    pred = np.where(blocky(rng, 2) == 1, true, blocky(rng, 5))
    pred[:4] = 9 if request.param % 2 else 2
    return pred, true


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (metrics.iou_per_class, jaccard_score),
        (metrics.f1_per_class, f1_score),
        (metrics.accuracy_per_class, recall_score),
        (metrics.precision_per_class, precision_score),
    ],
)
def test_scores_per_class_equal_scikit_learn(pair, ours, reference):
    pred, true = pair
    low, high = (
        reference(true.ravel(), pred.ravel(), labels=CLASSES, average=None, zero_division=filler)
        for filler in (0, 1)
    )
    # what depends on the filler is 0 / 0
    np.testing.assert_allclose(ours(class_matrix(pred, true)), np.where(low == high, low, np.nan))


def test_absent_classes_are_skipped_and_predicted_ones_count(pair):
    pred, true = pair
    iou = metrics.iou_per_class(class_matrix(pred, true))
    assert np.isnan(iou[5])
    assert iou[4] == 0
    assert metrics.mean_over_classes(iou) == pytest.approx(iou[:5].mean())


def test_pooled_scores_equal_scikit_learn(pair):
    pred, true = pair
    matrix = class_matrix(pred, true)
    assert metrics.pixel_accuracy(matrix) == pytest.approx((pred == true).mean())
    accuracy = metrics.mean_over_classes(metrics.accuracy_per_class(matrix))
    # scikit-learn warns of predicted classes that are never true, and leaves them out
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert accuracy == pytest.approx(balanced_accuracy_score(true.ravel(), pred.ravel()))
    weighted = jaccard_score(true.ravel(), pred.ravel(), average="weighted", zero_division=0)
    assert metrics.frequency_weighted_iou(matrix) == pytest.approx(weighted)


@given(counts(max_count=200))
def test_cluster_scores_equal_scikit_learn(cells):
    rows, columns = np.indices(cells.shape)
    pred, true = np.repeat(rows.ravel(), cells.ravel()), np.repeat(columns.ravel(), cells.ravel())
    assert metrics.adjusted_rand_index(cells) == pytest.approx(adjusted_rand_score(true, pred), abs=1e-9)
    assert metrics.normalized_mutual_info(cells) == pytest.approx(
        normalized_mutual_info_score(true, pred), abs=1e-9
    )


def test_rand_index_of_more_pixels_than_64_bit_pairs():
    cells = np.array([[3, 1], [1, 3]], np.int64)
    huge = metrics.adjusted_rand_index(cells * 10**10)
    # chance-adjusted over pairs, so in the limit a constant
    assert huge == pytest.approx(metrics.adjusted_rand_index(cells * 10**6), abs=1e-6)
    assert 0 < huge < 1


@given(hnp.arrays(np.int64, (5, 4, 3), elements=st.integers(0, 20)))
def test_batches_equal_single_matrices(batch):
    functions = [
        metrics.iou_per_class,
        metrics.f1_per_class,
        metrics.accuracy_per_class,
        metrics.precision_per_class,
        metrics.pixel_accuracy,
        metrics.frequency_weighted_iou,
        metrics.mean_absolute_error,
        metrics.adjusted_rand_index,
        metrics.normalized_mutual_info,
    ]
    for function in functions:
        np.testing.assert_allclose(function(batch), np.stack([function(one) for one in batch]))


@given(counts())
def test_bounds_and_order_of_the_scores(cells):
    side = max(cells.shape)
    matrix = np.zeros((side + 1, side), int)
    matrix[: cells.shape[0], : cells.shape[1]] = cells
    iou, f1 = metrics.iou_per_class(matrix), metrics.f1_per_class(matrix)
    known = ~np.isnan(iou)
    assert ((iou[known] >= 0) & (iou[known] <= f1[known]) & (f1[known] <= 1)).all()
    np.testing.assert_allclose(f1[known], 2 * iou[known] / (1 + iou[known]))
    assert 0 <= metrics.frequency_weighted_iou(matrix) <= metrics.pixel_accuracy(matrix) <= 1
    assert -1 <= metrics.adjusted_rand_index(cells) <= 1
    assert 0 <= metrics.normalized_mutual_info(cells) <= 1


@given(counts(), st.randoms(use_true_random=False))
def test_renaming_clusters_changes_nothing(cells, random):
    order = list(range(len(cells)))
    random.shuffle(order)
    shuffled = cells[order]
    for score in (metrics.adjusted_rand_index, metrics.normalized_mutual_info):
        assert score(shuffled) == pytest.approx(float(score(cells)), abs=1e-12)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_a_perfect_prediction_scores_one(pixels):
    matrix = np.diag(pixels)
    assert (metrics.iou_per_class(matrix) == 1).all()
    for score in (
        metrics.pixel_accuracy,
        metrics.frequency_weighted_iou,
        metrics.adjusted_rand_index,
        metrics.normalized_mutual_info,
    ):
        assert score(matrix) == pytest.approx(1)


def test_nothing_to_measure_is_nan():
    empty = np.zeros((3, 2), int)
    for score in (
        metrics.pixel_accuracy,
        metrics.frequency_weighted_iou,
        metrics.adjusted_rand_index,
        metrics.normalized_mutual_info,
    ):
        assert np.isnan(score(empty))
    assert np.isnan(metrics.mean_over_classes(metrics.iou_per_class(empty)))


def test_mean_over_true_classes_leaves_stray_predictions_out():
    # class 0 loses a pixel to class 1, which the image does not hold
    matrix = np.array([[9, 0], [1, 0]])
    iou = metrics.iou_per_class(matrix)
    assert metrics.mean_over_classes(iou) == pytest.approx(0.45)
    assert metrics.mean_over_true_classes(iou, matrix) == pytest.approx(0.9)


def test_f_beta_equals_scikit_learn():
    rng = np.random.default_rng(3)
    pred, true = blocky(rng, 2), blocky(rng, 2)
    hits = (pred & true).sum()
    expected = fbeta_score(true.ravel(), pred.ravel(), beta=np.sqrt(0.3))
    assert metrics.f_beta(hits, pred.sum(), true.sum()) == pytest.approx(expected)
    assert metrics.f_beta(0, 5, 0) == 0
    assert np.isnan(metrics.f_beta(0, 0, 0))


def test_mean_absolute_error_of_binary_masks():
    rng = np.random.default_rng(4)
    pred, true = blocky(rng, 2), blocky(rng, 2)
    matrix = np.array([[((pred == p) & (true == t)).sum() for t in (0, 1)] for p in (0, 1)])
    assert metrics.mean_absolute_error(matrix) == pytest.approx(np.abs(pred - true).mean())


def test_a_matrix_without_a_row_for_every_class_is_refused():
    with pytest.raises(ValueError, match="R >= C"):
        metrics.iou_per_class(np.zeros((2, 3)))


def test_hungarian_is_never_worse_than_taking_ids_for_classes():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        pred, true = blocky(rng, 4), blocky(rng, 4)
        table = count(pred, true)
        matched = Mapping(hungarian_iou(table), "").apply_to_table(table, table.true_ids)
        plain = Mapping({i: i for i in range(4)}, "").apply_to_table(table, table.true_ids)
        assert metrics.iou_per_class(matched).mean() >= metrics.iou_per_class(plain).mean() - 1e-12
