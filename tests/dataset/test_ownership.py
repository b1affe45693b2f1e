"""A run owns its files and nothing else's: clones, other fields and datasets, records of strangers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin.dataset.claiming import claim
from fiftyone_plugin.dataset.keys import METHOD, run_key
from fiftyone_plugin.errors import MissingDependencyError, PseudoMaskError, UsageError

_spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).parents[1] / "soak" / "tiny_run.py")
tiny_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_run)

KEY = run_key("m")


@pytest.fixture
def tiny(fo, tmp_path):
    """A dataset of four tiny images whose field ``m`` a run has filled; its clones are deleted too."""
    tiny_run.make_images(tmp_path / "images")
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(p)) for p in sorted((tmp_path / "images").iterdir())])
    write(dataset, tmp_path / "run")
    known = set(fo.list_datasets())
    yield dataset
    for name in {dataset.name, *(set(fo.list_datasets()) - known)}:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


def write(dataset, out, classes=3, *, field="m", overwrite=False):
    """Fill a field with a run that is made up in ``out``."""
    claim(dataset, field, out, overwrite=overwrite, restart=False)
    tiny_run.make_run(out, Path(dataset.first().filepath).parent, classes)
    return label_dataset(dataset, field, overwrite=overwrite)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_undo_in_a_clone_takes_fields_views_and_record_and_no_file(tiny, tmp_path):
    before = files(tmp_path / "run")
    clone = tiny.clone()
    done = undo(clone, KEY)
    assert "belong to another dataset" in done.kept[0]
    assert files(tmp_path / "run") == before
    assert not any(name.startswith("m") and name != "metadata" for name in clone.get_field_schema())
    assert clone.list_runs() == clone.list_saved_views() == []
    assert tiny.count("m") == 4
    assert undo(tiny, KEY).kept == ()  # nothing shows them any more
    assert not (tmp_path / "run").exists()


def test_overwriting_in_a_clone_leaves_the_masks_of_the_original(tiny, tmp_path):
    before = files(tmp_path / "run")
    clone = tiny.clone()
    write(clone, tmp_path / "new", 2, overwrite=True)
    assert files(tmp_path / "run") == before
    assert {Path(p).parent for p in clone.values("m.mask_path")} == {tmp_path / "new" / "masks"}
    undo(clone, KEY)
    assert not (tmp_path / "new").exists()
    assert files(tmp_path / "run") == before


def test_the_original_leaves_what_a_clone_shows(tiny, tmp_path):
    before = files(tmp_path / "run")
    clone = tiny.clone("clone-of-tiny")
    assert "of dataset 'clone-of-tiny' shows them" in undo(tiny, KEY).kept[0]
    assert files(tmp_path / "run") == before
    assert clone.count("m") == 4


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("change", ["clone_sample_field", "rename_sample_field"])
def test_files_that_another_field_shows_stay(tiny, tmp_path, change, overwrite):
    getattr(tiny, change)("m", "kept")
    before = {p: Path(p).read_bytes() for p in tiny.values("kept.mask_path")}
    if overwrite:
        write(tiny, tmp_path / "new", 2, overwrite=True)
        assert {Path(p).parent for p in tiny.values("m.mask_path")} == {tmp_path / "new" / "masks"}
    else:
        assert "field 'kept'" in undo(tiny, KEY).kept[0]
    assert {p: Path(p).read_bytes() for p in tiny.values("kept.mask_path")} == before


def test_masks_that_are_the_images_of_another_dataset_stay(fo, tiny, tmp_path):
    other = fo.Dataset()
    other.add_sample(fo.Sample(filepath=tiny.first().m.mask_path))
    assert "field 'filepath'" in undo(tiny, KEY).kept[0]
    assert Path(other.first().filepath).is_file()


def test_a_damaged_dataset_is_no_obstacle(fo, tiny, tmp_path):
    from fiftyone.core.odm import get_db_conn

    broken = {"name": "broken", "sample_collection_name": "samples.broken", "sample_fields": [None, 3]}
    get_db_conn().datasets.insert_one(broken)
    try:
        assert undo(tiny, KEY).kept == ()
        assert not (tmp_path / "run").exists()
    finally:
        get_db_conn().datasets.delete_one({"name": "broken"})


def test_named_classes_survive_their_run(tiny):
    from fiftyone_plugin.dataset.naming import apply_mapping
    from fiftyone_plugin.evaluation.matching import Mapping

    apply_mapping(tiny, "m", Mapping({1: 7, 2: 7, 3: 8}, "majority", names={7: "cat", 8: "dog"}))
    before = [sample.m_named.get_mask().tobytes() for sample in tiny]
    assert "field 'm_named'" in undo(tiny, KEY).kept[0]
    assert [sample.m_named.get_mask().tobytes() for sample in tiny] == before


class TestStrangers:
    """Records that came along with a dataset."""

    @pytest.fixture
    def precious(self, tmp_path):
        """A person's folder, which is a run by its looks."""
        tiny_run.make_run(tmp_path / "precious", tmp_path / "images", 3)
        (tmp_path / "precious" / "notes.txt").write_text("mine")
        return tmp_path / "precious"

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"fields": ["truth"], "created_fields": ["truth"]},
            {"created_fields": ["truth", "filepath"]},
            {"dataset_id": "0" * 24, "run_id": "0" * 32},
            {"status": "running"},
            {"out": 7},
            {"fields": {"a": 1}, "settings": [1]},
            {"pending": {"undo": {}}},
            {"pending": {"remove": {"out": "PRECIOUS"}, "replace": {"out": "PRECIOUS", "writing": True}}},
        ],
    )
    def test_undo_removes_the_record_alone(self, fo, tiny, precious, changes):
        tiny.clone_sample_field("m", "truth")
        fields = [f"truth{end}" for end in ("", "_classes", "_coverage", "_quality", "_confidence")]
        record = {"field": "truth", "out": str(precious), "fields": fields, "created_fields": fields}
        record |= {"status": "complete", "settings": {"method": "x"}, "counts": {}, **changes}
        for step in record.get("pending", {}).values():
            step |= {"out": str(precious)} if "out" in step else {}
        before, schema = files(precious), set(tiny.get_field_schema())
        tiny.register_run(run_key("truth"), tiny.init_run(method=METHOD, **record))
        undo(tiny, run_key("truth"))
        assert files(precious) == before
        assert set(tiny.get_field_schema()) == schema
        assert tiny.count("truth") == 4
        assert tiny.list_runs() == [KEY]


class TestOverwrite:
    def test_fields_of_other_origin_are_refused_before_the_run(self, fo, tiny, tmp_path):
        tiny.clone_sample_field("m", "ground_truth")
        tiny.add_sample_field("p_classes", fo.StringField)
        for field, message in (
            ("ground_truth", "was not filled by a run"),
            ("tags", "was not filled by a run"),
            ("filepath", "was not filled by a run"),
            ("p", "'p_classes' exists and holds something else"),
        ):
            with pytest.raises(UsageError, match=message):
                label_dataset(tiny, field, out=tmp_path / "new", overwrite=True)
        assert not (tmp_path / "new").exists()
        assert tiny.list_runs() == [KEY]
        assert tiny.count("ground_truth") == 4

    def test_a_run_that_fails_leaves_the_old_one_whole(self, tiny, tmp_path):
        before = files(tmp_path / "run")
        view = tiny.list_saved_views()
        with pytest.raises(PseudoMaskError):
            label_dataset(tiny, "m", overwrite=True, backbone=str(tmp_path / "nowhere.safetensors"))
        assert files(tmp_path / "run") == before
        assert tiny.count("m") == 4
        assert tiny.list_saved_views() == view
        assert not tiny.get_run_info(KEY).config.pending

    def test_folders_that_hold_a_run_are_refused(self, fo, tiny, tmp_path):
        before = files(tmp_path / "run")
        with pytest.raises(UsageError, match="are to be replaced"):
            label_dataset(tiny, "m", out=tmp_path / "run", overwrite=True)
        with pytest.raises(UsageError, match="holds a run already"):
            label_dataset(tiny, "p", out=tmp_path / "run", restart=True)
        assert files(tmp_path / "run") == before

    def test_an_interrupted_one_goes_on_and_can_be_undone(self, tiny, tmp_path):
        claim(tiny, "m", tmp_path / "new", overwrite=True, restart=False)
        assert tiny.get_run_info(KEY).config.status == "complete"
        record, new = claim(tiny, "m", None, overwrite=True, restart=False)
        assert (record.out, new) == (str(tmp_path / "new"), False)
        tiny_run.make_run(tmp_path / "new", tmp_path / "images", 2)
        undo(tiny, KEY)
        assert [p.name for p in tmp_path.iterdir()] == ["images"]

    def test_samples_that_the_new_run_does_not_label_are_emptied(self, tiny, tmp_path):
        view = tiny.limit(4).match({"filepath": {"$regex": "[0-3].png$"}})
        claim(tiny, "m", tmp_path / "new", overwrite=True, restart=False)
        tiny_run.make_run(tmp_path / "new", tmp_path / "images", 2)
        extra = tiny.first().copy()
        extra.filepath = str(tmp_path / "images" / "other.png")
        tiny.add_sample(extra)
        label_dataset(view, "m", overwrite=True)
        assert tiny.count("m") == tiny.count("m_quality") == tiny.count("m_confidence") == 4


def test_a_clones_run_cannot_be_edited(tiny):
    from fiftyone_plugin.dataset.editing import hide_classes

    with pytest.raises(UsageError, match="label this dataset anew"):
        hide_classes(tiny.clone(), "m", [1])


def test_an_undone_edit_leaves_what_a_clone_shows_and_files_of_others(tiny, tmp_path):
    from fiftyone_plugin.dataset.editing import merge_classes, undo_edit

    merge_classes(tiny, "m", [2, 3])
    folder = tmp_path / "run" / "edits" / "001" / "masks"
    (folder / "notes.txt").write_text("mine")
    before, clone = files(folder), tiny.clone()
    undo_edit(tiny, "m")
    assert files(folder) == before
    assert set(clone.values("m.mask_path")) & {str(folder / name) for name in before}
    merge_classes(tiny, "m", [2, 3])  # writes elsewhere
    assert files(folder) == before
    undo_edit(tiny, "m")
    clone.delete()
    merge_classes(tiny, "m", [1, 3])
    undo_edit(tiny, "m")
    undo(tiny, KEY)
    assert files(tmp_path / "run") == {"edits/001/masks/notes.txt": b"mine"}


def test_an_error_that_is_its_own_cause_comes_to_an_end():
    from pymongo.errors import AutoReconnect

    from fiftyone_plugin.dataset.database import database_errors, database_problem

    round_, lost = RuntimeError("boom"), RuntimeError("lost")
    round_.__cause__ = round_
    lost.__cause__ = AutoReconnect("closed")
    with pytest.raises(RuntimeError, match="boom"), database_errors():
        raise round_
    assert "does not answer (closed)" in database_problem(lost)


def test_a_database_that_dies_is_one_sentence(tiny, monkeypatch, tmp_path):
    from pymongo.errors import AutoReconnect

    def die(*_, **__):
        raise AutoReconnect("127.0.0.1:1: connection closed\nand more")

    claim(tiny, "p", tmp_path / "new", overwrite=False, restart=False)
    tiny_run.make_run(tmp_path / "new", tmp_path / "images", 2)
    with monkeypatch.context() as patch:
        patch.setattr(type(tiny), "set_values", die)
        with pytest.raises(MissingDependencyError, match="does not answer") as caught:
            label_dataset(tiny, "p")
    assert "\n" not in str(caught.value)
    assert "Masks that are done are kept" in str(caught.value)
    assert len(label_dataset(tiny, "p").labelled) == 4


class TestDrawnByAPerson:
    """Labels that a person has put into the field of a run since."""

    @pytest.fixture
    def drawn(self, fo, tiny, tmp_path):
        """The first sample shows a file of a person, the second a mask in the database, the third both."""
        tiny_run.make_images(tmp_path / "mine")
        samples = list(tiny)
        samples[0]["m"] = fo.Segmentation(mask_path=str(tmp_path / "mine" / "0.png"))
        samples[1]["m"] = fo.Segmentation(mask=np.full(tiny_run.SIZE, 2, np.uint8))
        samples[2]["m"].mask = np.full(tiny_run.SIZE, 1, np.uint8)
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

    def test_overwriting_leaves_them(self, drawn, tmp_path, caplog):
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

    def test_a_comparison_compares_them(self, drawn, tmp_path):
        from fiftyone_plugin.dataset.comparing import compare_runs

        write(drawn, tmp_path / "other", field="p")
        drawn.set_values("p", [sample.m.copy() for sample in drawn])
        done = compare_runs(drawn, "m", "p")
        assert (done.images, done.agreement) == (4, 1.0)
        second = drawn.skip(1).first()
        second.p.mask = np.full(tiny_run.SIZE, 0, np.uint8)
        second.save()
        assert compare_runs(drawn, "m", "p").agreement < 1.0

    def test_a_mask_drawn_after_an_edit_survives_its_undoing(self, tiny, tmp_path):
        from fiftyone_plugin.dataset.editing import merge_classes, undo_edit

        merge_classes(tiny, "m", [2, 3])
        sample = tiny.skip(2).first()
        assert "edits" in sample.m.mask_path
        sample.m.mask = np.full(tiny_run.SIZE, 1, np.uint8)
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


def test_a_deleted_field_is_said_in_words(tiny, tmp_path):
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
