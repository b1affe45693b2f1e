"""Comparison of two runs of a dataset: what is written, what it leads to, and that undo removes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import undo
from fiftyone_plugin.dataset.comparing import compare_runs
from fiftyone_plugin.dataset.comparison import comparison_key, list_comparisons, match_view, undo_comparison
from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation.comparison import compare_masks

KEY = comparison_key("first", "second")
FIELD = "first_vs_second_agreement"


@pytest.fixture
def twice(dataset, fill):
    """The photographs, labelled twice; the second run lacks two of them."""
    fill("first")
    fill("second", 1, images=5)
    return dataset


def pairs(dataset):
    for sample in dataset.exists("second"):
        yield sample.id, sample.first.get_mask(), sample.second.get_mask()


def test_what_is_written(twice):
    stored = compare_runs(twice, "first", "second")
    expected = compare_masks(pairs(twice))
    assert (stored.agreement, stored.ari, stored.nmi) == (expected.agreement, expected.ari, expected.nmi)
    assert stored.images == 5
    assert dict(zip(*twice.exists(FIELD).values(["id", FIELD]), strict=True)) == expected.per_image
    assert [(row.a, row.b) for row in stored.classes] == [(m.a, m.b) for m in expected.classes]
    view = twice.load_saved_view(stored.view)
    assert view.values(FIELD) == sorted(expected.per_image.values())
    assert list_comparisons(twice) == [stored]


def test_a_pair_of_classes_leads_to_its_images(twice):
    stored = compare_runs(twice, "first", "second")
    for number, match in enumerate(stored.classes):
        ids = match_view(twice, stored, number).values("id")
        expected = [
            sample_id
            for sample_id, a, b in pairs(twice)
            if (match.a and (a == match.a).any()) or (match.b and (b == match.b).any())
        ]
        assert sorted(ids) == sorted(expected)


def test_undo_removes_the_comparison_alone(twice):
    fields, views = set(twice.get_field_schema()), twice.list_saved_views()
    twice.save_view("first vs second: disagreement", twice.limit(1))
    compare_runs(twice, "first", "second")
    assert twice.has_saved_view("first vs second: disagreement 2")
    undo(twice, KEY)
    assert set(twice.get_field_schema()) == fields
    assert twice.list_saved_views() == [*views, "first vs second: disagreement"]
    assert twice.list_runs() == [run_key("first"), run_key("second")]
    with pytest.raises(UsageError, match=KEY):
        undo_comparison(twice, KEY)


def test_it_goes_with_either_of_its_runs(twice):
    compare_runs(twice, "first", "second")
    undo(twice, run_key("second"))
    assert twice.list_runs() == [run_key("first")]
    assert not twice.has_sample_field(FIELD)
    assert all("second" not in name for name in twice.list_saved_views())


def test_a_second_comparison_replaces_the_first(twice):
    compare_runs(twice, "first", "second", "mine")
    stored = compare_runs(twice.limit(2), "first", "second")
    assert stored.images == 2
    assert not twice.has_sample_field("mine")
    assert len(twice.exists(FIELD)) == 2
    assert len(list_comparisons(twice)) == 1


def test_bad_masks_are_left_out_and_listed(twice):
    ids, paths = twice.exists("second").values(["id", "second.mask_path"])
    Path(paths[0]).write_bytes(b"no image")
    Path(paths[1]).unlink()
    Image.fromarray(np.ones((3, 3), np.uint8)).save(paths[2])
    stored = compare_runs(twice, "first", "second")
    assert (stored.images, stored.left_out) == (2, 3)
    assert set(stored.reasons) == set(ids[:3])
    assert set(twice.exists(FIELD).values("id")) == set(ids[3:])


def test_refusals_leave_nothing(fo, twice):
    twice.add_sample_field("taken", fo.FloatField)
    before = set(twice.get_field_schema())
    for a, b, field, message in (
        ("first", "first", None, "itself"),
        ("first", "third", None, "'third'"),
        ("first", "second", "taken", "'taken' exists"),
        ("first", "second", "no name", "'no name'"),
    ):
        with pytest.raises(UsageError, match=message):
            compare_runs(twice, a, b, field)
    missing = twice.match(fo.ViewField("second") == None)  # noqa: E711
    with pytest.raises(UsageError, match="no two masks"):
        compare_runs(missing, "first", "second")
    assert set(twice.get_field_schema()) == before
    assert list_comparisons(twice) == []
