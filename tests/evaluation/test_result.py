from __future__ import annotations

import json
import math
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation import (
    PROTOCOLS,
    ConfusionMatrix,
    EvaluationOptions,
    EvaluationResult,
    collect,
    evaluate_pairs,
    over_seeds,
)
from fiftyone_plugin.evaluation.per_image import ImageCounts
from fiftyone_plugin.evaluation.report import format_result
from fiftyone_plugin.evaluation.scoring import pooled_replicates, resample, weighted_means

from .references import as_cells, masks, pairs

NAMES = {1: "sky", 2: "grass", 3: "road"}


# --- storage ---------------------------------------------------------------------------------------


@given(st.lists(masks(5, np.uint16), max_size=5))
def test_image_tables_come_back_and_sum_to_the_accumulated_one(images):
    matrix = ConfusionMatrix([2])
    tables = [matrix.update(p, t) for p, t in images]
    stored = collect([(str(i), p, t) for i, (p, t) in enumerate(images)], EvaluationOptions(ignore=(2,)))
    assert [as_cells(t) for t in stored] == [as_cells(t) for t in tables]
    assert as_cells(stored.total()) == as_cells(matrix.compute())


@pytest.mark.parametrize("protocol", sorted(PROTOCOLS))
def test_results_survive_json(protocol):
    data = [*pairs(3), ("void", np.ones((4, 4), int), np.full((4, 4), 255))]
    result = evaluate_pairs(data, ignore=[255], protocol=protocol, replicates=20, boundary=0.01)
    text = json.dumps(result.to_dict(), allow_nan=False)
    again = EvaluationResult.from_dict(json.loads(text))
    assert again.to_dict() == result.to_dict()
    assert again.mapping == result.mapping
    np.testing.assert_array_equal(again.table.counts, result.table.counts)
    document = json.loads(text)
    for key in ("scores", "mapping", "protocol", "K", "coverage", "n"):
        assert key in document


def test_other_formats_are_refused():
    with pytest.raises(UsageError, match="format 7"):
        EvaluationResult.from_dict({"format": 7})


# --- intervals -------------------------------------------------------------------------------------


def test_replicates_equal_a_slow_bootstrap():
    data = pairs(6)
    stored = collect(data, EvaluationOptions(ignore=(0,)))
    total = stored.total()
    _, pred, _, _ = stored.cells
    rows = np.searchsorted(total.pred_ids, pred)
    matrices = stored.sparse(rows, total.pred_ids.size, total.true_ids)
    fast = pooled_replicates(
        matrices, total.counts.shape, lambda m: {"first": m[:, 0, 0], "sum": m.sum((1, 2))}, 7, 3
    )
    dense = np.stack([t.expand(total.pred_ids, total.true_ids).counts for t in stored])
    rng = np.random.default_rng(3)
    for i in range(7):
        drawn = dense[rng.integers(0, 6, 6)].sum(0)
        assert fast["first"][i] == drawn[0, 0]
        assert fast["sum"][i] == drawn.sum()


def test_resampling_does_not_depend_on_chunks():
    whole = np.concatenate(list(resample(50, 40, seed=1)))
    parts = np.concatenate(list(resample(50, 40, seed=1, width=1 << 21)))
    np.testing.assert_array_equal(whole, parts)
    assert (whole.sum(1) == 50).all()


def test_means_skip_images_without_a_value():
    values = np.array([0.0, 1.0, np.nan, 1.0])
    means = weighted_means(values, 500, seed=0)
    rng = np.random.default_rng(0)
    assert means[0] == pytest.approx(np.nanmean(values[rng.integers(0, 4, 4)]), nan_ok=True)
    assert np.nanmean(means) == pytest.approx(2 / 3, abs=0.05)


def test_intervals_hold_the_score_shrink_with_images_and_repeat():
    small, large = (evaluate_pairs(pairs(n), ignore=[0], replicates=300) for n in (6, 60))
    for result in (small, large):
        for name, (low, high) in result.confidence.items():
            assert low - 1e-9 <= result.scores[name] <= high + 1e-9, name
    width = {n: r.confidence["miou"][1] - r.confidence["miou"][0] for n, r in ((6, small), (60, large))}
    assert width[60] < width[6]
    again = evaluate_pairs(pairs(6), ignore=[0], replicates=300)
    assert again.confidence == small.confidence
    assert set(small.confidence) == set(small.scores)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    # per-image accuracy is Bernoulli-like with a known mean; 95 % intervals of 60 images
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        values = rng.random(60)
        low, high = np.quantile(weighted_means(values, 300, seed), [0.025, 0.975])
        hits += low <= 0.5 <= high
    assert 0.88 <= hits / 200 <= 0.99


# --- seeds and text --------------------------------------------------------------------------------


def test_mean_and_deviation_over_seeds():
    runs = [evaluate_pairs(pairs(seed=s), ignore=[0], replicates=0) for s in range(4)]
    values = [run.scores["miou"] for run in runs]
    mean, deviation = over_seeds(runs)["miou"]
    assert mean == pytest.approx(np.mean(values))
    assert deviation == pytest.approx(np.std(values, ddof=1))
    assert math.isnan(over_seeds(runs[:1])["miou"][1])


def test_seeds_of_different_protocols_are_not_averaged():
    runs = [
        evaluate_pairs(pairs(2), ignore=[0], protocol=p, replicates=0) for p in ("majority", "iou-hungarian")
    ]
    with pytest.raises(UsageError, match="one protocol"):
        over_seeds(runs)


def test_tables_are_aligned():
    lines = format_table(["class", "IoU"], [["sky", "7.5"], ["grassland", "100.0"]]).splitlines()
    assert lines == ["class        IoU", "---------  -----", "sky          7.5", "grassland  100.0"]


def test_the_report_says_what_was_done():
    text = format_result(evaluate_pairs(pairs(), NAMES, ignore=[0], protocol="datus_drop", replicates=20))
    for part in (
        "datus_drop",
        "flatters",
        "images    12",
        "5 predicted, 3 classes",
        "kept ",
        "mIoU",
        "1 sky",
        "..",
    ):
        assert part in text


@given(st.lists(masks(5, np.uint16), max_size=5))
def test_counts_survive_the_compact_form(images):
    stored = collect([(str(i), p, t) for i, (p, t) in enumerate(images)], EvaluationOptions(ignore=(2,)))
    stored.extras["value"] = array("d", range(len(images)))
    again = ImageCounts.decode(json.loads(json.dumps(stored.encode())), stored.names)
    assert [as_cells(t) for t in again] == [as_cells(t) for t in stored]
    assert again.names == stored.names
    assert again.extras == stored.extras
