from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.confusion import Contingency
from fiftyone_plugin.evaluation.matching import (
    Mapping,
    hungarian_counts,
    hungarian_iou,
    identity,
    iou_matrix,
    majority,
)
from fiftyone_plugin.evaluation.protocols import PROTOCOLS, get_protocol

from .references import best_total, counts


def table(cells, pred_ids=None, true_ids=None) -> Contingency:
    cells = np.asarray(cells)
    rows = np.arange(1, cells.shape[0] + 1) if pred_ids is None else np.array(pred_ids)
    columns = np.arange(1, cells.shape[1] + 1) if true_ids is None else np.array(true_ids)
    return Contingency(rows, columns, cells)


def total(value, mapping, t) -> float:
    rows, columns = (
        {int(k): i for i, k in enumerate(t.pred_ids)},
        {int(c): j for j, c in enumerate(t.true_ids)},
    )
    return sum(value[rows[k], columns[c]] for k, c in mapping.items())


@given(counts())
@settings(max_examples=60)
def test_hungarian_finds_the_best_of_all_permutations(cells):
    t = table(cells)
    iou = np.array(
        [
            [n / (cells[i].sum() + cells[:, j].sum() - n) if n else 0.0 for j, n in enumerate(row)]
            for i, row in enumerate(cells.tolist())
        ]
    )
    np.testing.assert_allclose(iou_matrix(cells), iou)
    assert total(iou, hungarian_iou(t), t) == pytest.approx(best_total(iou))
    assert total(cells, hungarian_counts(t), t) == best_total(cells)


@given(counts())
@settings(max_examples=60)
def test_matchings_are_one_to_one_and_do_not_depend_on_the_names_of_clusters(cells):
    t = table(cells)
    for match in (hungarian_iou, hungarian_counts):
        assert len(set(match(t).values())) == len(match(t))
    order = np.arange(len(cells))[::-1]
    renamed = Contingency(t.pred_ids, t.true_ids, cells[order])
    for match, value in ((hungarian_iou, iou_matrix), (hungarian_counts, np.asarray)):
        left, right = total(value(cells), match(t), t), total(value(cells[order]), match(renamed), renamed)
        assert left == pytest.approx(right)


def test_iou_and_counts_can_choose_differently():
    t = table([[40, 0], [90, 40]])
    # IoU 40/130 + 40/130 > 90/170; pixels 40 + 40 < 90
    assert hungarian_iou(t) == {1: 1, 2: 2}
    assert hungarian_counts(t) == {2: 1}


def test_unlabelled_pixels_count_in_the_union_that_is_matched_as_in_the_score():
    t = table([[30, 0], [10, 0], [5, 10]], pred_ids=[0, 1, 2])
    inner = t.without(0)
    assert inner.class_pixels.tolist() == [45, 10]
    assert inner.expand(true_ids=[7]).class_pixels.tolist() == [45, 10, 0]
    np.testing.assert_allclose(
        iou_matrix(inner.counts, inner.class_pixels), [[10 / 45, 0], [5 / 55, 10 / 15]]
    )
    # labelled pixels alone: 1 -> 1 is worth 6/7, 1 -> 2 only 1/7; with the others 6/97 against 1/7
    t = table([[90, 0], [6, 1]], pred_ids=[0, 1], true_ids=[1, 2])
    assert hungarian_iou(t.without(0)) == {1: 2}
    assert hungarian_iou(table([[6, 1]], pred_ids=[1])) == {1: 1}


def test_more_clusters_than_classes_leaves_clusters_without_a_class():
    assert hungarian_iou(table([[9, 0], [5, 0], [0, 7]])) == {1: 1, 3: 2}


def test_more_classes_than_clusters_leaves_classes_without_a_cluster():
    assert hungarian_iou(table([[9, 4, 5]])) == {1: 1}


def test_pairs_that_share_no_pixel_are_no_match():
    t = table([[9, 0], [4, 0]])
    assert hungarian_iou(t) == {1: 1}
    assert hungarian_counts(t) == {1: 1}
    assert hungarian_counts(t, keep_empty=True) == {1: 1, 2: 2}


@given(counts())
def test_majority_is_the_class_of_most_pixels_the_lowest_of_equals(cells):
    expected = {}
    for k, row in enumerate(cells.tolist(), start=1):
        if sum(row):
            expected[k] = max(range(1, len(row) + 1), key=lambda c: (row[c - 1], -c))
    assert majority(table(cells)) == expected


def test_identity_keeps_only_ids_that_are_classes():
    assert identity(table(np.ones((3, 2), int), pred_ids=[0, 2, 9], true_ids=[1, 2])) == {2: 2}


def test_empty_tables_match_nothing():
    for match in (hungarian_iou, hungarian_counts, majority, identity):
        assert match(Contingency.empty()) == {}


# --- mappings ------------------------------------------------------------------------------------


def test_a_mapping_renames_a_mask_and_leaves_the_original():
    mask = np.array([[0, 3], [7, 8]], np.int32)
    before = mask.copy()
    mapping = Mapping({3: 300, 7: 2}, "iou-hungarian")
    renamed = mapping.apply_to_mask(mask, fill=255)
    assert renamed.tolist() == [[255, 300], [2, 255]]
    assert renamed.dtype == np.uint16
    np.testing.assert_array_equal(mask, before)


def test_unmatched_clusters_and_unlabelled_pixels_become_the_background():
    mapping = Mapping({3: 5}, "unmatched-background", unmatched=1)
    assert mapping.apply_to_mask(np.array([[0, 3, 4]])).tolist() == [[1, 5, 1]]


def test_mapping_a_table_keeps_every_pixel():
    t = table([[4, 1], [2, 3], [0, 6], [5, 5]], pred_ids=[0, 10, 20, 30], true_ids=[1, 2])
    matrix = Mapping({10: 2, 20: 2, 30: 77}, "majority").apply_to_table(t, np.array([1, 2]))
    assert matrix.tolist() == [[0, 0], [2, 9], [9, 6]]


@given(counts())
def test_mapping_the_mask_equals_mapping_the_table(cells):
    t = table(cells)
    pred = np.repeat(np.repeat(t.pred_ids, t.true_ids.size), cells.ravel())[None]
    true = np.repeat(np.tile(t.true_ids, t.pred_ids.size), cells.ravel())[None]
    mapping = Mapping(hungarian_iou(t), "iou-hungarian")
    matrix = mapping.apply_to_table(t, t.true_ids)
    renamed = mapping.apply_to_mask(pred, fill=0)
    for i, c in enumerate([*t.true_ids, 0]):
        for j, d in enumerate(t.true_ids):
            assert matrix[i, j] == ((renamed == c) & (true == d)).sum()


def test_a_mapping_is_saved_and_loaded(tmp_path):
    mapping = Mapping({4: 1, 12: 3}, "unmatched-background", 0, {1: "sky", 3: "Straße"})
    mapping.save(tmp_path / "mapping.json")
    assert Mapping.load(tmp_path / "mapping.json") == mapping


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "clusters": 3}'])
def test_a_file_without_a_mapping_is_refused_by_name(tmp_path, text):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(UsageError, match=r"m\.json"):
        Mapping.load(tmp_path / "m.json")


# --- protocols -----------------------------------------------------------------------------------


def test_every_protocol_explains_itself_in_one_line():
    assert list(PROTOCOLS) == [
        "iou-hungarian",
        "count-hungarian",
        "majority",
        "unmatched-background",
        "alignseg_per_image",
        "datus_drop",
        "identity",
        "foreground",
    ]
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert 20 < len(protocol.explanation) < 110
        assert "\n" not in protocol.explanation


def test_unlabelled_is_never_matched():
    t = table([[50, 0], [0, 9]], pred_ids=[0, 4])
    assert get_protocol("iou-hungarian").learn(t, unlabelled=0).clusters == {4: 2}
    assert get_protocol("iou-hungarian").learn(t, unlabelled=None).clusters == {0: 1, 4: 2}


def test_background_must_be_a_class():
    with pytest.raises(UsageError, match=r"background class 0, which is ignored or absent"):
        get_protocol("unmatched-background").learn(table([[1, 2]]), unlabelled=0)


def test_unknown_protocols_are_listed_with_the_known():
    with pytest.raises(UsageError, match="unknown protocol 'best'; known: iou-hungarian, "):
        get_protocol("best")
