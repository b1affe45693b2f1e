"""The array functions of edits, against slow obvious loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score

from fiftyone_plugin.dataset.editing.claims import cut_instances, fold_claims, place_instance
from fiftyone_plugin.dataset.editing.classes import relabel
from fiftyone_plugin.dataset.editing.corrections import Examples, changed_regions, reassign
from fiftyone_plugin.dataset.editing.regions import patch_shares, pool_tokens
from fiftyone_plugin.dataset.editing.split import RegionParts
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.masks.regions import find_regions

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))
settings.register_profile("edits", deadline=None)  # other work on the machine is no failure
settings.load_profile("edits")
MASKS = SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 4)))


def components(mask):
    """Every 8-connected component of every class as a bool array, by class, with scipy."""
    found = []
    for id_ in np.unique(mask):
        if id_:
            labels, n = ndimage.label(mask == id_, structure=np.ones((3, 3)))
            found += [(int(id_), labels == k) for k in range(1, n + 1)]
    return found


@given(MASKS, st.dictionaries(st.integers(1, 4), st.integers(1, 4), min_size=1))
def test_relabel_is_a_table(mask, table):
    expected = np.array([[table.get(int(v), int(v)) for v in row] for row in mask], np.uint8)
    new = relabel(mask, table)
    assert np.array_equal(new, expected)
    assert new.dtype == mask.dtype
    assert (new is mask) == np.array_equal(mask, expected)


@given(MASKS)
def test_regions_are_those_of_scipy(mask):
    regions = find_regions(mask)
    ours = {(int(label), (regions.map == i + 1).tobytes()) for i, label in enumerate(regions.label)}
    assert ours == {(id_, part.tobytes()) for id_, part in components(mask)}
    assert regions.area.tolist() == [int((regions.map == i + 1).sum()) for i in range(len(regions))]
    only = find_regions(mask, [2])
    assert np.array_equal(only.map > 0, mask == 2)


@given(MASKS, st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_shares_of_patches_against_a_loop(mask, grid):
    regions = find_regions(mask)
    expected = np.zeros((len(regions), grid[0] * grid[1]))
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            patch = int((y + 0.5) * grid[0] / mask.shape[0]) * grid[1]
            patch += int((x + 0.5) * grid[1] / mask.shape[1])
            if regions.map[y, x]:
                expected[regions.map[y, x] - 1, patch] += 1
    assert np.array_equal(patch_shares(regions.map, len(regions), grid), expected)


def test_a_descriptor_is_the_mean_over_the_pixels():
    rng = np.random.default_rng(3)
    tokens = rng.normal(size=(6, 8)).astype(np.float32)
    mask = np.zeros((40, 60), np.uint8)
    mask[5:33, 11:52] = 1
    regions = find_regions(mask)
    (vector,) = pool_tokens(tokens, patch_shares(regions.map, 1, (2, 3)))
    pixels = np.repeat(np.repeat(tokens.reshape(2, 3, 8), 20, axis=0), 20, axis=1)[mask > 0]
    mean = pixels.mean(axis=0)
    assert np.allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_painting_widens_the_dtype_only_where_an_id_needs_it():
    mask = np.array([[1, 1, 0], [2, 0, 1]], np.uint8)
    regions = find_regions(mask, [1])
    painted = regions.paint(np.array([1, 300])[: len(regions)], mask)
    assert painted.dtype == (np.uint16 if len(regions) > 1 else np.uint8)
    assert painted[1, 0] == 2
    assert regions.paint(np.full(len(regions), 9), mask).dtype == np.uint8


# ---------------------------------------------------------------------- detections


def as_claims(instances, shape):
    return [place_instance(box, crop, shape, id_) for id_, box, crop in instances]


def handed_out(instances, shape):
    out = np.zeros(shape, bool)
    for claim in as_claims(instances, shape):
        h, w = claim.mask.shape
        out[claim.top : claim.top + h, claim.left : claim.left + w] |= claim.mask
    return out


@given(MASKS, st.integers(1, 6))
def test_untouched_detections_change_no_pixel(mask, min_area):
    instances = cut_instances(mask, [1, 2, 3], min_area)
    out = handed_out(instances, mask.shape)
    large = [part for id_, part in components(mask) if id_ in (1, 2, 3) and part.sum() >= min_area]
    assert np.array_equal(out, np.any([np.zeros(mask.shape, bool), *large], axis=0))
    folded = fold_claims(mask, out, as_claims(instances, mask.shape))
    assert np.array_equal(folded, mask)
    assert folded.dtype == np.uint8


@settings(max_examples=30)
@given(st.integers(1, 5000), st.integers(1, 5000), st.data())
def test_boxes_come_back_to_the_pixel_in_images_of_any_size(height, width, data):
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    box = (left / width, top / height, (right - left) / width, (bottom - top) / height)
    claim = place_instance(box, None, (height, width), 1)
    assert (claim.top, claim.left, claim.mask.shape) == (top, left, (bottom - top, right - left))


def test_what_an_edit_of_detections_means():
    mask = np.zeros((8, 12), np.uint8)
    mask[:, :6], mask[:, 6:] = 1, 2
    one, two = cut_instances(mask, [1, 2], 1)
    shape, out = mask.shape, np.ones(mask.shape, bool)

    def fold(*instances):
        return fold_claims(mask, out, as_claims(instances, shape))

    assert np.array_equal(fold(one), np.where(mask == 1, 1, 0))  # the other one was deleted
    assert np.array_equal(fold((7, *one[1:]), two), np.where(mask == 1, 7, 2))  # a new label
    wide = (1, (0, 0, 9 / 12, 1), np.ones((8, 9), bool))
    for order in ((wide, two), (two, wide)):  # what was made larger covers its neighbour in any order
        assert np.array_equal(fold(*order), np.repeat([[1] * 9 + [2] * 3], 8, axis=0))
    small = (1, (0, 0, 2 / 12, 1), np.ones((8, 2), bool))
    assert np.array_equal(fold(small, two), np.repeat([[1] * 2 + [0] * 4 + [2] * 6], 8, axis=0))
    assert fold((300, *one[1:]), two).dtype == np.uint16


def test_masks_that_do_not_fit_their_box_are_stretched_and_clipped():
    mask = np.array([[255, 0], [0, 255]], np.uint8)
    claim = place_instance((0.5, 0.5, 1.0, 1.0), mask, (8, 8), 3)
    assert (claim.top, claim.left, claim.mask.shape) == (4, 4, (4, 4))
    assert claim.mask.all()  # the upper left quarter of the stretched mask
    claim = place_instance((-0.5, 0.0, 1.0, 1.0), np.dstack([mask] * 3), (8, 8), 3)
    assert (claim.top, claim.left, claim.mask.shape) == (0, 0, (8, 4))
    assert claim.mask[4:].all()
    assert not claim.mask[:4].any()
    assert place_instance((1.5, 0, 0.1, 0.1), None, (8, 8), 3) is None
    assert place_instance((0, 0, 1, 1), np.zeros((8, 8), bool), (8, 8), 3) is None


# ---------------------------------------------------------------------- parts and corrections


def test_parts_are_found_numbered_by_area_and_reproducible():
    rng = np.random.default_rng(0)
    centres = np.eye(3, 16) * 3
    truth = np.repeat([0, 1, 2], [40, 60, 20])
    spread = 0.5 / np.arange(1, 17)  # features vary less from one component to the next
    x = centres[truth] + rng.normal(size=(120, 16)) * spread
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    area = np.where(truth == 2, 10.0, 1.0)  # few, but large
    parts = RegionParts(3, random_state=5).fit(x, area)
    assert adjusted_rand_score(truth, parts.labels_) == 1.0
    assert set(parts.labels_[truth == 2]) == {1}
    assert set(parts.labels_[truth == 1]) == {2}
    assert np.array_equal(parts.predict(x), parts.labels_)
    assert np.array_equal(RegionParts(3, random_state=5).fit(x, area).labels_, parts.labels_)
    assert RegionParts().fit(np.repeat(x[:1], 5, axis=0), np.ones(5)).labels_.tolist() == [1] * 5
    for wrong in (1, 27):
        with pytest.raises(UsageError, match="2 to 26 parts"):
            RegionParts(wrong)


def test_small_regions_do_not_decide_on_the_parts():
    rng = np.random.default_rng(1)
    centres = np.eye(4, 12)
    truth = np.repeat([0, 1, 2, 3], [10, 10, 150, 150])
    x = centres[truth] + rng.normal(scale=0.05, size=(320, 12))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    parts = RegionParts().fit(x, np.where(truth < 2, 1.0, 1e-4))
    assert adjusted_rand_score(truth[:20], parts.labels_[:20]) == 1.0


@given(MASKS, st.data())
def test_changed_regions_against_scipy(before, data):
    after = data.draw(arrays(np.uint8, before.shape, elements=st.integers(0, 4)))
    regions, now = changed_regions(before, after)
    ours = {
        (int(a), int(b), (regions.map == i + 1).tobytes())
        for i, (a, b) in enumerate(zip(regions.label, now, strict=True))
    }
    pairs = np.where((before > 0) & (after > 0), before.astype(int) * 10 + after, 0)
    assert ours == {(pair // 10, pair % 10, part.tobytes()) for pair, part in components(pairs)}


def reassign_slowly(vectors, label, examples, means, margin):
    new = []
    for vector, own in zip(vectors, label, strict=True):
        rows = [i for i in range(len(examples.was)) if examples.was[i] == own]
        moved = [i for i in rows if examples.now[i] != own]
        stay = [vector @ examples.vectors[i] for i in rows if examples.now[i] == own]
        stay.append(vector @ means[own] if own in means else 0.0)
        away = [vector @ examples.vectors[i] for i in moved]
        best = int(np.argmax(away)) if away else -1
        new.append(examples.now[moved[best]] if away and away[best] - max(stay) > margin else own)
    return np.array(new)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.sampled_from([0.0, 0.05, 0.4]))
def test_reassignment_against_a_loop(seed, margin):
    rng = np.random.default_rng(seed)

    def unit(n):
        x = rng.normal(size=(n, 5))
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    examples = Examples(unit(6), rng.integers(1, 4, 6), rng.integers(1, 5, 6))
    vectors, label = unit(30), rng.integers(1, 4, 30)
    means = dict(zip([1, 2, 3], unit(3), strict=True))
    if seed % 2:
        del means[1 + seed % 3]  # a class without a mean
    new = reassign(vectors, label, examples, means, margin)
    assert np.array_equal(new, reassign_slowly(vectors, label, examples, means, margin))
    untouched = ~np.isin(label, examples.was[examples.was != examples.now])
    assert np.array_equal(new[untouched], label[untouched])
