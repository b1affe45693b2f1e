from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.confusion import ConfusionMatrix, Contingency, count, resize_nearest, validate

from .references import as_cells, blocky, masks, slow_confusion


@given(masks(), st.sets(st.integers(0, 5), max_size=3))
def test_counts_equal_a_loop_over_pixels(pair, ignore):
    pred, true = pair
    assert as_cells(count(pred, true, ignore)) == slow_confusion(pred, true, ignore)


def test_counts_equal_scikit_learn():
    rng = np.random.default_rng(0)
    pred, true = blocky(rng, 7), blocky(rng, 4)
    table = count(pred, true).expand(range(7), range(7))
    np.testing.assert_array_equal(table.counts, confusion_matrix(pred.ravel(), true.ravel(), labels=range(7)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_any_integer_type(dtype):
    rng = np.random.default_rng(1)
    pred, true = blocky(rng, 6), blocky(rng, 4)
    assert as_cells(count(pred.astype(dtype), true.astype(np.uint8))) == slow_confusion(pred, true)


def test_bool_masks_are_ids_0_and_1():
    pred, true = np.array([[True, False]]), np.array([[True, True]])
    assert as_cells(count(pred, true)) == {(1, 1): 1, (0, 1): 1}


def test_large_ids_of_sixteen_bits_and_more():
    pred = np.array([[65535, 1], [300, 300]], np.uint16)
    true = np.array([[65535, 255], [70000, 70000]], np.uint32)
    assert as_cells(count(pred, true)) == {(65535, 65535): 1, (1, 255): 1, (300, 70000): 2}
    assert as_cells(count(pred, true, ignore=[65535, 255])) == {(300, 70000): 2}


def test_ids_under_ignored_pixels_do_not_appear():
    table = count(np.array([[1, 9]]), np.array([[2, 255]]), ignore=[255])
    assert table.pred_ids.tolist() == [1]
    assert table.true_ids.tolist() == [2]


def test_everything_ignored_is_an_empty_table():
    table = count(np.ones((2, 2), int), np.full((2, 2), 255), ignore=[255])
    assert table.counts.shape == (0, 0)
    assert np.isnan(table.coverage(0))


def test_sizes_that_differ_are_rejected_with_both_shapes():
    with pytest.raises(UsageError, match=r"prediction is 480x640 .* ground truth 213x320"):
        count(np.zeros((480, 640), int), np.zeros((213, 320), int))


def test_resizing_when_asked_for_takes_the_nearest_pixel():
    true = np.kron(np.array([[1, 2], [3, 4]]), np.ones((6, 4), int))
    pred = np.array([[1, 2], [3, 4]])
    assert as_cells(count(pred, true, resize=True)) == {(i, i): 24 for i in (1, 2, 3, 4)}
    np.testing.assert_array_equal(resize_nearest(true, (2, 2)), pred)


@pytest.mark.parametrize(
    ("pred", "message"),
    [
        (np.array([[-1, 3]]), r"prediction holds the negative id -1"),
        (np.array([[0.0, 1.0]]), r"prediction holds float64 values"),
        (np.zeros((1, 2, 3), np.uint8), r"prediction has shape \(1, 2, 3\)"),
    ],
)
def test_what_is_no_mask_is_refused(pred, message):
    with pytest.raises(UsageError, match=message):
        validate(pred, np.array([[0, 1]]))


def test_negative_ground_truth_is_named_as_such():
    with pytest.raises(UsageError, match="ground truth holds the negative id -1"):
        validate(np.array([[0, 1]]), np.array([[-1, 1]]))


@given(st.lists(masks(), max_size=6), st.integers(0, 6))
def test_merged_shards_equal_one_pass(pairs, cut):
    whole, left, right = ConfusionMatrix([0]), ConfusionMatrix([0]), ConfusionMatrix([0])
    for i, (pred, true) in enumerate(pairs):
        whole.update(pred, true)
        (left if i < cut else right).update(pred, true)
    joint = left.merge(right).compute()
    assert as_cells(joint) == as_cells(whole.compute())
    total: dict = {}
    for pred, true in pairs:
        for cell, n in slow_confusion(pred, true, [0]).items():
            total[cell] = total.get(cell, 0) + n
    assert as_cells(joint) == total


def test_the_matrix_grows_with_new_ids():
    matrix = ConfusionMatrix()
    matrix.update(np.array([[5]]), np.array([[1]]))
    matrix.update(np.array([[2, 900]]), np.array([[1, 3]]))
    table = matrix.compute()
    assert (table.pred_ids.tolist(), table.true_ids.tolist()) == ([2, 5, 900], [1, 3])
    assert table.counts.tolist() == [[1, 0], [1, 0], [0, 1]]


def test_computed_counts_are_a_copy():
    matrix = ConfusionMatrix()
    matrix.update(np.array([[1]]), np.array([[1]]))
    before = matrix.compute()
    matrix.update(np.array([[1]]), np.array([[1]]))
    assert before.counts.tolist() == [[1]]


def test_shards_that_ignore_different_ids_do_not_merge():
    with pytest.raises(UsageError, match="cannot merge"):
        ConfusionMatrix([0]).merge(ConfusionMatrix([255]))


def test_coverage_counts_unlabelled_predictions():
    table = Contingency(np.array([0, 4]), np.array([1]), np.array([[3], [9]]))
    assert table.coverage(0) == 0.75
    assert table.coverage(None) == 1.0
    assert table.without(0).pred_ids.tolist() == [4]
