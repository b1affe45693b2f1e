"""A run owns its files and nothing else's: clones, other fields and datasets, records of strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin.dataset.claiming import claim
from fiftyone_plugin.dataset.keys import METHOD, run_key
from fiftyone_plugin.errors import PseudoMaskError, UsageError

KEY = "pseudomask_m"


def test_undo_in_a_clone_takes_fields_views_and_record_and_no_file(tiny, tmp_path, files):
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


def test_overwriting_in_a_clone_leaves_the_masks_of_the_original(tiny, tmp_path, write, files):
    before = files(tmp_path / "run")
    clone = tiny.clone()
    write(clone, tmp_path / "new", 2, overwrite=True)
    assert files(tmp_path / "run") == before
    assert {Path(p).parent for p in clone.values("m.mask_path")} == {tmp_path / "new" / "masks"}
    undo(clone, KEY)
    assert not (tmp_path / "new").exists()
    assert files(tmp_path / "run") == before


def test_the_original_leaves_what_a_clone_shows(tiny, tmp_path, files):
    before = files(tmp_path / "run")
    clone = tiny.clone("clone-of-tiny")
    assert "of dataset 'clone-of-tiny' shows them" in undo(tiny, KEY).kept[0]
    assert files(tmp_path / "run") == before
    assert clone.count("m") == 4


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("change", ["clone_sample_field", "rename_sample_field"])
def test_files_that_another_field_shows_stay(tiny, tmp_path, change, overwrite, write):
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
    def precious(self, tmp_path, runs):
        """A person's folder, which is a run by its looks."""
        runs.make_run(tmp_path / "precious", tmp_path / "images", 3)
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
    def test_undo_removes_the_record_alone(self, fo, tiny, precious, changes, files):
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

    def test_a_run_that_fails_leaves_the_old_one_whole(self, tiny, tmp_path, files):
        before = files(tmp_path / "run")
        view = tiny.list_saved_views()
        with pytest.raises(PseudoMaskError):
            label_dataset(tiny, "m", overwrite=True, backbone=str(tmp_path / "nowhere.safetensors"))
        assert files(tmp_path / "run") == before
        assert tiny.count("m") == 4
        assert tiny.list_saved_views() == view
        assert not tiny.get_run_info(KEY).config.pending

    def test_folders_that_hold_a_run_are_refused(self, fo, tiny, tmp_path, files):
        before = files(tmp_path / "run")
        with pytest.raises(UsageError, match="are to be replaced"):
            label_dataset(tiny, "m", out=tmp_path / "run", overwrite=True)
        with pytest.raises(UsageError, match="holds a run already"):
            label_dataset(tiny, "p", out=tmp_path / "run", restart=True)
        assert files(tmp_path / "run") == before

    def test_an_interrupted_one_goes_on_and_can_be_undone(self, tiny, tmp_path, runs):
        claim(tiny, "m", tmp_path / "new", overwrite=True, restart=False)
        assert tiny.get_run_info(KEY).config.status == "complete"
        record, new = claim(tiny, "m", None, overwrite=True, restart=False)
        assert (record.out, new) == (str(tmp_path / "new"), False)
        runs.make_run(tmp_path / "new", tmp_path / "images", 2)
        undo(tiny, KEY)
        assert [p.name for p in tmp_path.iterdir()] == ["images"]

    def test_samples_that_the_new_run_does_not_label_are_emptied(self, tiny, tmp_path, runs):
        view = tiny.limit(4).match({"filepath": {"$regex": "[0-3].png$"}})
        claim(tiny, "m", tmp_path / "new", overwrite=True, restart=False)
        runs.make_run(tmp_path / "new", tmp_path / "images", 2)
        extra = tiny.first().copy()
        extra.filepath = str(tmp_path / "images" / "other.png")
        tiny.add_sample(extra)
        label_dataset(view, "m", overwrite=True)
        assert tiny.count("m") == tiny.count("m_quality") == tiny.count("m_confidence") == 4


def test_a_clones_run_cannot_be_edited(tiny):
    from fiftyone_plugin.dataset.editing import hide_classes

    with pytest.raises(UsageError, match="label this dataset anew"):
        hide_classes(tiny.clone(), "m", [1])


def test_an_undone_edit_leaves_what_a_clone_shows_and_files_of_others(tiny, tmp_path, files):
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
