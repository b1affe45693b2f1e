"""What a person, a stranger or a dying database does to the fields and names of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin.dataset.claiming import claim
from fiftyone_plugin.errors import MissingDependencyError, UsageError

KEY = "pseudomask_m"


class TestDrawnByAPerson:
    """Labels that a person has put into the field of a run since."""

    @pytest.fixture
    def drawn(self, fo, tiny, tmp_path, runs):
        """The first sample shows a file of a person, the second a mask in the database, the third both."""
        runs.make_images(tmp_path / "mine")
        samples = list(tiny)
        samples[0]["m"] = fo.Segmentation(mask_path=str(tmp_path / "mine" / "0.png"))
        samples[1]["m"] = fo.Segmentation(mask=np.full(runs.SIZE, 2, np.uint8))
        samples[2]["m"].mask = np.full(runs.SIZE, 1, np.uint8)
        for sample in samples:
            sample.save()
        return tiny

    def check(self, dataset, tmp_path):
        dataset.reload()
        first, second, third = list(dataset)[:3]
        assert first.m.mask_path == str(tmp_path / "mine" / "0.png")
        assert (second.m.get_mask() == 2).all()
        assert (third.m.get_mask() == 1).all()
        paths = [path for path in dataset.values("m.mask_path") if path]
        assert all(Path(path).is_file() for path in paths)
        return paths

    def test_undo_leaves_them(self, drawn, tmp_path):
        assert undo(drawn, KEY).kept == ("3 labels in 'm' stay: they were not written by a run",)
        assert len(self.check(drawn, tmp_path)) == drawn.count("m") - 2 == 1
        assert "m" in drawn.mask_targets  # which say what is drawn
        assert not drawn.has_sample_field("m_classes")
        assert not (tmp_path / "run").exists()

    def test_undo_in_a_clone_leaves_them(self, drawn, tmp_path):
        clone = drawn.clone()
        undo(clone, KEY)
        assert len(self.check(clone, tmp_path)) == clone.count("m") - 2 == 1
        assert drawn.count("m") == 4

    def test_undo_where_masks_travelled_with_the_dataset_takes_the_field(self, tiny, tmp_path):
        clone = tiny.clone()
        paths = [path.replace("run", "copy") for path in clone.values("m.mask_path")]
        clone.set_values("m.mask_path", paths)
        undo(clone, KEY)
        assert not clone.has_sample_field("m")

    def test_overwriting_leaves_them(self, drawn, tmp_path, caplog, write):
        write(drawn, tmp_path / "new", 2, overwrite=True)
        assert "3 labels in 'm' were not written by a run" in caplog.text
        paths = self.check(drawn, tmp_path)
        assert paths == [str(tmp_path / "mine" / "0.png"), str(tmp_path / "new" / "masks" / "3.png")]
        assert not (tmp_path / "run").exists()

    def test_edits_of_masks_name_them_and_leave_them(self, drawn, tmp_path):
        from fiftyone_plugin.dataset.editing import merge_classes, undo_edit

        before = drawn.values("m.mask_path")
        done = merge_classes(drawn, "m", [2, 3], name="both")
        assert done.outside == tuple(drawn.values("id")[:3])
        assert done.edit.summary["outside"] == 3
        self.check(drawn, tmp_path)
        third = drawn.skip(2).first()
        assert third.m_classes == ["class 1"]  # of what it shows, not of the file beside it
        undo_edit(drawn, "m")
        assert drawn.values("m.mask_path") == before
        self.check(drawn, tmp_path)

    def test_a_comparison_compares_them(self, drawn, tmp_path, write, runs):
        from fiftyone_plugin.dataset.comparing import compare_runs

        write(drawn, tmp_path / "other", field="p")
        drawn.set_values("p", [sample.m.copy() for sample in drawn])
        done = compare_runs(drawn, "m", "p")
        assert (done.images, done.agreement) == (4, 1.0)
        second = drawn.skip(1).first()
        second.p.mask = np.full(runs.SIZE, 0, np.uint8)
        second.save()
        assert compare_runs(drawn, "m", "p").agreement < 1.0

    def test_a_mask_drawn_after_an_edit_survives_its_undoing(self, tiny, tmp_path, runs):
        from fiftyone_plugin.dataset.editing import merge_classes, undo_edit

        merge_classes(tiny, "m", [2, 3])
        sample = tiny.skip(2).first()
        assert "edits" in sample.m.mask_path
        sample.m.mask = np.full(runs.SIZE, 1, np.uint8)
        sample.save()
        undo_edit(tiny, "m")
        sample.reload()
        assert (sample.m.mask == 1).all()
        assert Path(sample.m.mask_path).is_file()


def test_an_estimate_of_no_samples_is_no_empty_dataset(tiny, monkeypatch):
    from fiftyone_plugin.images.listing import check_view

    monkeypatch.setattr(type(tiny), "__len__", lambda _: 0)  # as after the database was killed
    check_view(tiny)
    with pytest.raises(UsageError, match="is empty"):
        check_view(tiny.match({"filepath": "nowhere"}))


def test_a_deleted_field_is_said_in_words(tiny, tmp_path, write):
    from fiftyone_plugin.dataset.comparing import compare_runs
    from fiftyone_plugin.dataset.editing import merge_classes

    tiny.delete_sample_field("m")
    with pytest.raises(UsageError, match="was deleted, its run is still there"):
        merge_classes(tiny, "m", [1, 2])
    write(tiny, tmp_path / "other", field="p")
    with pytest.raises(UsageError, match="'m' was deleted"):
        compare_runs(tiny, "m", "p")
    write(tiny, tmp_path / "new", overwrite=True)
    assert tiny.count("m") == 4
    assert not (tmp_path / "run").exists()


class TestNamesByHand:
    """Names of classes that a person has changed in the mask targets, where no list follows them."""

    def test_a_merge_reaches_all_masks(self, tiny):
        from fiftyone_plugin.dataset.editing import merge_classes, undo_edit

        tiny.mask_targets = {**tiny.mask_targets, "m": {1: "sky", 2: "class 3", 3: "class 1"}}
        before = [sample.m.get_mask().tobytes() for sample in tiny]
        assert merge_classes(tiny, "m", [2, 3], name="ground").changed == 3  # of four, one has no 3
        for sample in tiny:
            mask = sample.m.get_mask()
            assert 3 not in mask
            names = {1: "sky", 2: "ground"}
            assert sample.m_classes == [names[int(id_)] for id_ in np.unique(mask) if id_]
        undo_edit(tiny, "m")
        assert [sample.m.get_mask().tobytes() for sample in tiny] == before

    @pytest.mark.parametrize("targets", [{}, {"#ff0000": "red"}])
    def test_targets_without_ids(self, tiny, targets):
        from fiftyone_plugin.dataset.editing.names import class_names, rename_classes
        from fiftyone_plugin.dataset.summary import class_rows

        tiny.mask_targets = {**tiny.mask_targets, "m": targets}
        assert class_names(tiny, "m") == {}
        assert {row.name for row in class_rows(tiny, "m")} == {"class 1", "class 2", "class 3"}
        with pytest.raises(UsageError, match="name none"):
            rename_classes(tiny, "m", {1: "x"})


@pytest.mark.parametrize(
    "edits", ["x", [1, {"number": "../..", "kind": 3}], {"a": 1}, [{"number": -1, "before": 3}]]
)
def test_edits_in_a_record_of_a_stranger_are_no_edits(tiny, edits):
    from fiftyone_plugin.dataset.editing import list_edits
    from fiftyone_plugin.dataset.editing.names import class_names

    config = tiny.get_run_info(KEY).config
    config.edits = edits
    tiny.update_run_config(KEY, config)
    assert list_edits(tiny, "m") == []
    assert class_names(tiny, "m") == {1: "class 1", 2: "class 2", 3: "class 3"}


def test_an_error_that_is_its_own_cause_comes_to_an_end():
    from pymongo.errors import AutoReconnect

    from fiftyone_plugin.dataset.database import database_errors, database_problem

    round_, lost = RuntimeError("boom"), RuntimeError("lost")
    round_.__cause__ = round_
    lost.__cause__ = AutoReconnect("closed")
    with pytest.raises(RuntimeError, match="boom"), database_errors():
        raise round_
    assert "does not answer (closed)" in database_problem(lost)


def test_a_database_that_dies_is_one_sentence(tiny, monkeypatch, tmp_path, runs):
    from pymongo.errors import AutoReconnect

    def die(*_, **__):
        raise AutoReconnect("127.0.0.1:1: connection closed\nand more")

    claim(tiny, "p", tmp_path / "new", overwrite=False, restart=False)
    runs.make_run(tmp_path / "new", tmp_path / "images", 2)
    with monkeypatch.context() as patch:
        patch.setattr(type(tiny), "set_values", die)
        with pytest.raises(MissingDependencyError, match="does not answer") as caught:
            label_dataset(tiny, "p")
    assert "\n" not in str(caught.value)
    assert "Masks that are done are kept" in str(caught.value)
    assert len(label_dataset(tiny, "p").labelled) == 4


def test_what_a_function_has_returned_is_undone(tiny, tmp_path, write):
    from fiftyone_plugin.dataset.comparing import compare_runs
    from fiftyone_plugin.dataset.comparison import list_comparisons
    from fiftyone_plugin.dataset.editing import hide_classes, merge_classes
    from fiftyone_plugin.dataset.editing.names import class_names
    from fiftyone_plugin.dataset.record import read_record

    names, paths = class_names(tiny, "m"), tiny.values("m.mask_path")
    merged, hidden = merge_classes(tiny, "m", [1, 3]), hide_classes(tiny, "m", [2])
    with pytest.raises(UsageError, match="edit 1 of 'm' is not the last one, edit 2 is"):
        undo(tiny, merged)
    assert undo(tiny, hidden).key == undo(tiny, merged).key == KEY
    assert (class_names(tiny, "m"), tiny.values("m.mask_path")) == (names, paths)
    with pytest.raises(UsageError, match="no edit to take back"):
        undo(tiny, merged)
    write(tiny, tmp_path / "new", field="p")
    undo(tiny, compare_runs(tiny, "m", "p"))
    assert list_comparisons(tiny) == []
    undo(tiny, read_record(tiny, "pseudomask_p"))
    assert tiny.list_runs() == [KEY]
