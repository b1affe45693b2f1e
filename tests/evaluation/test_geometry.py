from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.geometry import boundary_f, box_found

from .references import blocky


def slow_boundary_f(pred, true, reach) -> float:
    """Every boundary pixel against every other, as the definition says."""

    def edge(mask):
        h, w = mask.shape
        return [
            (y, x)
            for y in range(h)
            for x in range(w)
            if (x + 1 < w and mask[y, x] != mask[y, x + 1]) or (y + 1 < h and mask[y, x] != mask[y + 1, x])
        ]

    def near(points, others):
        return sum(any((a - c) ** 2 + (b - d) ** 2 <= reach**2 for c, d in others) for a, b in points) / len(
            points
        )

    p, t = edge(pred), edge(true)
    precision, recall = near(p, t), near(t, p)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_boundary_f_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    true = blocky(rng, 3, (24, 32))
    pred = np.where(blocky(rng, 2, (24, 32)) == 1, true, np.roll(true, 3, axis=1))
    # a diagonal of 40 pixels
    assert boundary_f(pred, true, tolerance=2 / 40) == pytest.approx(slow_boundary_f(pred, true, 2))


def test_boundaries_within_the_tolerance_are_right():
    true = np.zeros((100, 100), np.uint8)
    true[:, 50:] = 1
    shifted = np.roll(true, 3, axis=1)
    shifted[:, :3] = 0
    assert boundary_f(true, true) == 1
    assert boundary_f(shifted, true, tolerance=3 / np.hypot(100, 100)) == 1
    assert boundary_f(shifted, true, tolerance=2 / np.hypot(100, 100)) == 0


def test_ids_do_not_matter_for_boundaries():
    true = blocky(np.random.default_rng(5), 4)
    assert boundary_f((true * 7 + 3) % 29, true) == 1


def test_one_mask_without_a_boundary_scores_zero_both_nan():
    flat, parted = np.zeros((20, 20), int), np.kron(np.eye(2, dtype=int), np.ones((10, 10), int))
    assert boundary_f(flat, parted) == 0
    assert boundary_f(parted, flat) == 0
    assert np.isnan(boundary_f(flat, flat))
    assert np.isnan(boundary_f(parted, np.full((20, 20), 255), ignore=[255]))


def test_a_thin_ignored_band_holds_the_boundary():
    true = np.ones((60, 80), np.uint8)
    true[:, 38:42] = 255
    true[:, 42:] = 2
    pred = np.where(np.arange(80) < 39, 5, 6)[None].repeat(60, axis=0)
    assert boundary_f(pred, true, tolerance=0.03, ignore=[255]) == 1
    # without the boundary it is missed
    assert boundary_f(np.zeros_like(pred), true, tolerance=0.03, ignore=[255]) == 0


def test_a_wide_ignored_area_asks_for_no_boundary_and_forbids_none():
    true = np.ones((60, 80), np.uint8)
    true[:, 20:60] = 255
    true[:30, :20] = 3
    pred = np.ones((60, 80), np.uint8)
    pred[:30, :20] = 3
    pred[10:50, 30:50] = 9
    assert boundary_f(pred, true, tolerance=0.02, ignore=[255]) == 1


def test_perfect_on_real_ground_truth(data_dir):
    from PIL import Image

    for path in sorted((data_dir / "coco27" / "masks").iterdir())[:5]:
        true = np.asarray(Image.open(path))
        assert boundary_f(true, true, ignore=[0]) == 1


def box(y0, x0, y1, x1, size=(40, 40)):
    mask = np.zeros(size, np.uint8)
    mask[y0:y1, x0:x1] = 255
    return mask


@pytest.mark.parametrize(("shift", "found"), [(0, 1.0), (5, 1.0), (6, 1.0), (7, 0.0), (20, 0.0)])
def test_a_box_is_found_from_an_iou_of_one_half(shift, found):
    # 20x20 boxes shifted by s: IoU (20 - s) / (20 + s), one half at s = 6.67
    assert box_found(box(5, 0 + shift, 25, 20 + shift), box(5, 0, 25, 20)) == found


def test_the_largest_part_decides_and_any_object_counts():
    two = box(0, 0, 10, 10) | box(20, 20, 40, 40)
    assert box_found(box(0, 0, 10, 10), two) == 1
    assert box_found(two, box(0, 0, 10, 10)) == 0
    assert box_found(two, box(20, 20, 40, 40)) == 1


def test_boxes_without_an_object():
    nothing = np.zeros((40, 40), np.uint8)
    assert np.isnan(box_found(box(0, 0, 5, 5), nothing))
    assert box_found(nothing, box(0, 0, 5, 5)) == 0
    with pytest.raises(UsageError, match="40x40"):
        box_found(nothing, np.zeros((3, 3), int))
