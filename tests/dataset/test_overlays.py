"""Overlays: what they show, pixel by pixel, and that they take nothing of anybody away."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from fiftyone_plugin.dataset import overlays
from fiftyone_plugin.dataset.colours import saved_scheme
from fiftyone_plugin.dataset.labelling import undo
from fiftyone_plugin.dataset.overlays import add_overlay, list_overlays, remove_overlay
from fiftyone_plugin.errors import UsageError


def masks(dataset, field):
    return [sample[field].get_mask() for sample in dataset]


def test_outlines_are_the_ids_where_another_is_near(tiny):
    made = add_overlay(tiny, "m", "outlines")
    assert (made.name, made.images, made.left_out) == ("m_outlines", len(tiny), ())
    for mask, drawn in zip(masks(tiny, "m"), masks(tiny, "m_outlines"), strict=True):
        wide = np.pad(mask, 1, mode="edge")
        (h, w), steps = mask.shape, range(3)
        around = np.stack([wide[y : y + h, x : x + w] for y in steps for x in steps])
        np.testing.assert_array_equal(drawn, np.where((around != mask).any(0), mask, 0))
    assert tiny.mask_targets["m_outlines"] == tiny.mask_targets["m"]


def test_large_masks_are_drawn_small(monkeypatch):
    monkeypatch.setattr(overlays, "SIDE", 10)
    mask = np.arange(25 * 12).reshape(25, 12)
    assert overlays.reduced(mask).shape == (9, 4)
    assert overlays.reduced(mask[:10, :10]).shape == (10, 10)


def test_doubt_is_what_confidence_lacks(tiny):
    made = add_overlay(tiny, "m", "doubt")
    maps = [sample.m_confidence.get_map() for sample in tiny]
    middle = np.median(np.concatenate([each[::4, ::4].ravel() for each in maps]))
    for sample, confidence in zip(tiny, maps, strict=True):
        for found, known in zip(sample[made.name].map.flat, confidence.flat, strict=True):
            assert abs(int(found) - max(0.0, 255 * (1 - known / middle))) <= 0.5 + 1e-4
    assert [each["path"] for each in saved_scheme(tiny)["colorscales"]] == [made.name]
    remove_overlay(tiny, made.name)
    assert "colorscales" not in saved_scheme(tiny)


def test_where_two_runs_differ(tiny, tmp_path, write):
    write(tiny, tmp_path / "other", 4, field="o")
    tiny.mask_targets = {**tiny.mask_targets}
    made = add_overlay(tiny, "m", "difference", "o")
    pairs = list(zip(masks(tiny, "m"), masks(tiny, "o"), masks(tiny, made.name), strict=True))
    table = np.zeros((10, 10), int)
    for a, b, _ in pairs:
        np.add.at(table, (a, b), 1)
    table[0] = table[:, 0] = 0
    match = dict(zip(*linear_sum_assignment(-table), strict=True))
    for a, b, drawn in pairs:
        for (y, x), id_ in np.ndenumerate(a):
            same = b[y, x] == 0 if not id_ else bool(table[id_, b[y, x]]) and match[id_] == b[y, x]
            expected = 0 if same else 3 if not id_ else 2 if not b[y, x] else 1
            assert drawn[y, x] == expected
    undo(tiny, "pseudomask_o")
    assert list_overlays(tiny) == []
    assert not tiny.has_sample_field(made.name)


def test_against_ground_truth_what_has_no_name_does_not_count(fo, tiny):
    for sample in tiny:
        truth = np.where(sample.m.get_mask() == 2, 7, 5).astype(np.uint8)
        truth[0], truth[1] = 255, 5
        sample["truth"] = fo.Segmentation(mask=truth)
        sample.save()
    tiny.mask_targets = {**tiny.mask_targets, "truth": {5: "wall", 7: "sky"}}
    tiny.save()
    made = add_overlay(tiny, "m", "difference", "truth")
    for mask, drawn in zip(masks(tiny, "m"), masks(tiny, made.name), strict=True):
        expected = np.zeros(mask.shape, int)
        expected[1] = np.where(mask[1] == 2, 1, 0)
        expected[1:][mask[1:] == 0] = 3
        expected[:1] = 0
        np.testing.assert_array_equal(drawn, expected)


def test_nothing_of_anybody_is_overwritten_and_ours_is_made_anew(fo, tiny):
    tiny.add_sample_field("m_outlines", fo.StringField)
    tiny.set_values("m_outlines", ["mine"] * len(tiny))
    names = [add_overlay(tiny, "m", "outlines").name for _ in range(2)]
    assert names == ["m_outlines_2"] * 2
    assert tiny.values("m_outlines") == ["mine"] * len(tiny)
    with pytest.raises(UsageError, match="stays"):
        remove_overlay(tiny, "m_outlines")
    remove_overlay(tiny, "m_outlines_2")
    assert not tiny.has_sample_field("m_outlines_2")
    assert "m_outlines_2" not in tiny.mask_targets
    for wrong in (("m", "none"), ("m", "difference"), ("m", "difference", "m"), ("x", "outlines")):
        with pytest.raises(UsageError):
            add_overlay(tiny, *wrong)
