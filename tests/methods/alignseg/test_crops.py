from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fiftyone_plugin.methods.alignseg.crops import attention_foreground, draw_crops, resample_tokens


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**20))
def test_crops_lie_inside_the_image(height, width, seed):
    boxes = draw_crops(np.random.default_rng(seed), (height, width), 3)
    assert len(boxes) == 4
    for y0, x0, y1, x1 in boxes:
        assert 0 <= y0 < y1 <= height
        assert 0 <= x0 < x1 <= width


def test_crops_have_the_published_areas_aspects_and_overlap():
    height, width = 300, 400
    for seed in range(200):
        world, *local = draw_crops(np.random.default_rng(seed), (height, width), 2)
        for box, (low, high) in ((world, (0.5, 1.0)), *((box, (0.05, 0.25)) for box in local)):
            h, w = box[2] - box[0], box[3] - box[1]
            assert low - 0.01 <= h * w / (height * width) <= high + 0.01
            assert 0.74 <= w / h <= 1.35
        canvas = np.zeros((height, width), int)
        for box in (world, local[0]):
            canvas[box[0] : box[2], box[1] : box[3]] += 1
        assert (canvas == 2).sum() > int(0.05 * height * width)


def test_crops_follow_the_generator_alone():
    assert draw_crops(np.random.default_rng(5), (99, 77), 2) == draw_crops(
        np.random.default_rng(5), (99, 77), 2
    )


def test_resampling_agrees_with_scipy():
    rng = np.random.default_rng(0)
    grid, size, box, side = rng.normal(size=(6, 9, 3)), (60, 180), (7, 31, 44, 150), 5
    found = resample_tokens(grid, box, size, side)
    rows = (box[0] + (box[2] - box[0]) * (np.arange(side) + 0.5) / side) / size[0] * 6 - 0.5
    columns = (box[1] + (box[3] - box[1]) * (np.arange(side) + 0.5) / side) / size[1] * 9 - 0.5
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    expected = [ndimage.map_coordinates(grid[..., c], points, order=1, mode="nearest") for c in range(3)]
    np.testing.assert_allclose(found, np.stack(expected, -1), atol=1e-5)


def test_the_whole_image_at_its_own_resolution_is_the_grid():
    grid = np.random.default_rng(0).normal(size=(7, 7, 2)).astype(np.float32)
    np.testing.assert_allclose(resample_tokens(grid, (0, 0, 50, 30), (50, 30), 7), grid, atol=1e-6)


def slow_foreground(attention: np.ndarray, mass: float) -> np.ndarray:
    """Blur tap by tap, take patches from the highest down, remove specks by flood fill."""
    h, w = attention.shape
    taps = np.exp(-0.5 * (np.arange(-3, 4) / 0.6) ** 2)
    taps /= taps.sum()
    padded = np.pad(attention.astype(float), 3, mode="reflect")
    blurred = np.array(
        [[(padded[y : y + 7, x : x + 7] * np.outer(taps, taps)).sum() for x in range(w)] for y in range(h)]
    )
    mask, total, done = np.zeros((h, w), bool), blurred.sum(), 0.0
    for index in np.argsort(-blurred.ravel()):
        if done >= mass * total:
            break
        mask.ravel()[index] = True
        done += blurred.ravel()[index]
    seen = np.zeros_like(mask)
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        stack, component = [start], []
        seen[start] = True
        while stack:
            y, x = stack.pop()
            component.append((y, x))
            for ny in range(max(0, y - 1), min(h, y + 2)):
                for nx in range(max(0, x - 1), min(w, x + 2)):
                    if mask[ny, nx] and not seen[ny, nx]:
                        seen[ny, nx] = True
                        stack.append((ny, nx))
        if len(component) <= 2:
            for place in component:
                mask[place] = False
    return mask


@pytest.mark.parametrize("mass", [0.3, 0.6, 0.9])
def test_attention_foreground(mass):
    rng = np.random.default_rng(0)
    attention = rng.gamma(0.3, size=(6, 14, 14)) ** 2
    attention /= attention.sum((1, 2), keepdims=True)
    found = attention_foreground(attention, mass)
    assert found.any()
    for image, mask in zip(attention, found, strict=True):
        np.testing.assert_array_equal(mask, slow_foreground(image, mass))


def test_components_do_not_reach_into_the_next_image():
    attention = np.full((2, 8, 8), 1e-9)
    attention[0, 2:6, 2:6] = 1.0
    attention[1, 4, 4] = 1.0  # blurred, this patch holds more than four tenths: a speck of its own image
    found = attention_foreground(attention, 0.4)
    assert found[0].sum() > 4
    assert found[0, 4, 4]
    assert not found[1].any()


def test_all_of_the_attention_is_every_patch():
    assert attention_foreground(np.zeros((2, 4, 4)), 1.0).all()
