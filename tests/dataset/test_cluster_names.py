"""Names for the classes of a run in a dataset: kept one by one, and written as a run of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin import undo
from fiftyone_plugin.dataset.cluster_names import cards, name_classes, names_used
from fiftyone_plugin.dataset.editing import hide_classes, merge_classes, undo_edit
from fiftyone_plugin.dataset.editing.names import rename_classes
from fiftyone_plugin.dataset.name_drafts import drafted, keep_draft
from fiftyone_plugin.dataset.record import finished_run
from fiftyone_plugin.dataset.resuming import resume_run
from fiftyone_plugin.errors import UsageError


def masks(dataset, field):
    return [np.asarray(sample[field].get_mask()) for sample in dataset]


def named(dataset, field):
    """Return the name of every pixel of every image, and "" for none."""
    targets = dataset.mask_targets[field]
    lookup = np.array([targets.get(id_, "") for id_ in range(9)])
    return [lookup[mask] for mask in masks(dataset, field)]


def test_names_kept_at_once_are_all_there(tiny):
    run = finished_run(tiny, "m")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda id_: keep_draft(tiny, run, {id_: f"name {id_}"}), range(1, 9)))
    assert drafted(tiny, run) == {id_: f"name {id_}" for id_ in range(1, 9)}
    assert keep_draft(tiny, run, {2: ""}).keys() == {1, 3, 4, 5, 6, 7, 8}
    undo(tiny, "pseudomask_m")
    assert drafted(tiny, run) == {}


def test_named_masks_are_a_run_of_their_own(tiny, files):
    run, before, old = finished_run(tiny, "m"), masks(tiny, "m"), files(Path(finished_run(tiny, "m").out))
    keep_draft(tiny, run, {1: "sky", 3: "Sky", 2: "-"})
    result = name_classes(tiny, "m")
    assert dict(tiny.mask_targets["m_named"]) == result.class_names == {1: "sky"}
    for mask, was in zip(masks(tiny, "m_named"), before, strict=True):
        assert np.array_equal(mask, np.isin(was, (1, 3)))
    assert {k: v for k, v in files(Path(run.out)).items() if "lock" not in k} == old
    assert names_used(tiny)[0] == "sky"
    assert len(tiny.exists("m_named_quality")) == len(tiny)
    undo(tiny, "pseudomask_m_named")
    assert not tiny.has_sample_field("m_named")
    assert all(np.array_equal(*pair) for pair in zip(masks(tiny, "m"), before, strict=True))


def test_edits_count(tiny):
    merge_classes(tiny, "m", [1, 2], name="both")
    hide_classes(tiny, "m", [3])
    assert [card.name for card in cards(tiny, "m")] == ["both"], "a renamed class has a name already"
    seen = named(tiny, "m")
    name_classes(tiny, "m", new_field="new")
    assert all(np.array_equal(*pair) for pair in zip(named(tiny, "new"), seen, strict=True))
    undo_edit(tiny, "m")
    undo_edit(tiny, "m")
    rename_classes(tiny, "m", {2: "b"})
    name_classes(tiny, "m", {1: "a"}, "newer")
    assert list(tiny.mask_targets["newer"].values()) == ["a", "b", "class 3"]


def test_what_cannot_be_named_is_refused_and_leaves_nothing(tiny):
    with pytest.raises(UsageError, match="no class of 'm' has a name yet"):
        name_classes(tiny, "m")
    with pytest.raises(UsageError, match="no cluster 9"):
        name_classes(tiny, "m", {9: "sky"}, "new")
    with pytest.raises(UsageError, match="no finished run fills 'n'"):
        name_classes(tiny, "n", {1: "sky"})
    with pytest.raises(UsageError, match="was filled by run"):
        name_classes(tiny, "m", {1: "sky"}, "m")
    assert tiny.list_runs() == ["pseudomask_m"]
    assert not tiny.has_sample_field("new")


def test_a_run_of_names_that_was_cut_short_goes_on(tiny, monkeypatch):
    import fiftyone_plugin.runs.naming as naming

    def end(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(naming, "draw_sheet", end)
        with pytest.raises(KeyboardInterrupt):
            name_classes(tiny, "m", {1: "sky"}, "new")
    tiny.reload()
    resume_run(tiny, "new")
    assert tiny.mask_targets["new"][1] == "sky"
    assert len(tiny.exists("new")) == len(tiny)
