"""Masks of exports and of other tools into a field of a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import import_masks
from fiftyone_plugin.errors import MissingDependencyError, UsageError
from fiftyone_plugin.formats import export

from .conftest import NAMES


def load(path):
    return json.loads(path.read_text())


# --- import ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["coco-instances", "coco-panoptic", "coco-stuff", "voc", "masks"])
def test_a_corrected_export_becomes_a_field(view, tmp_path, name):
    export(view, "masks", out=tmp_path / "o", format=name)
    result = import_masks(view, tmp_path / "o", "again", out=tmp_path / "masks")
    assert (result.matched, result.skipped) == (7, [])
    names = {int(k): v for k, v in NAMES.items()}
    to_id = {v: k for k, v in names.items()}
    targets = view.mask_targets["again"]
    assert set(targets.values()) == set(names.values())
    table = np.zeros(256, np.uint8)
    for key, value in targets.items():
        table[int(key)] = to_id[value]
    for sample in view:
        assert sample.again.mask_path.startswith(str(tmp_path / "masks"))
        assert np.array_equal(table[sample.again.get_mask()], sample.masks.get_mask())


def test_names_match_by_path_or_absolute_path_or_file_name(view, levels, tmp_path):
    export(view, "masks", out=tmp_path / "o", images="reference")
    assert import_masks(view, tmp_path / "o", "absolute", out=tmp_path / "a").matched == 7
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (levels / "masks").rglob("*.png"):
        (flat / path.name).write_bytes(path.read_bytes())
    (flat / "nobody.png").write_bytes(path.read_bytes())
    (flat / "classes.json").write_text(json.dumps(NAMES))
    result = import_masks(view, flat, "flat", out=tmp_path / "b")
    assert result.matched == 7
    assert [(entry.key, entry.reason) for entry in result.skipped] == [("nobody", "no sample of this name")]


def test_what_does_not_fit_is_not_imported(view, levels, tmp_path):
    folder = tmp_path / "wrong"
    for path in (levels / "masks").rglob("*.png"):
        target = folder / path.relative_to(levels / "masks")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(
            np.ones((3, 3), np.uint8) if path.stem == "coffee" else np.asarray(Image.open(path))
        ).save(target)
    result = import_masks(view, folder, "again", out=tmp_path / "m")
    assert result.matched == 6
    (skipped,) = result.skipped
    assert skipped.key.endswith("coffee")
    assert "mask of shape (3, 3)" in skipped.reason
    with pytest.raises(UsageError, match="field 'again' exists"):
        import_masks(view, folder, "again", out=tmp_path / "n")
    with pytest.raises(UsageError, match="cannot be a field name"):
        import_masks(view, folder, "a b", out=tmp_path / "n")
    (tmp_path / "alien").mkdir()
    Image.fromarray(np.ones((3, 3), np.uint8)).save(tmp_path / "alien" / "x.png")
    with pytest.raises(UsageError, match="has the name of an image"):
        import_masks(view, tmp_path / "alien", "other", out=tmp_path / "n")
    assert "other" not in view.get_field_schema()
    assert not (tmp_path / "n").exists()


def test_a_second_import_leaves_no_labels_without_their_masks(view, tmp_path):
    export(view, "masks", out=tmp_path / "all")
    export(view.limit(2), "masks", out=tmp_path / "two")
    import_masks(view, tmp_path / "all", "again", out=tmp_path / "masks")
    import_masks(view, tmp_path / "two", "again", out=tmp_path / "masks", overwrite=True)
    assert view.count("again") == 2
    assert all(sample.again.get_mask() is not None for sample in view.exists("again"))


class TestImportedFiles:
    """An import replaces what an earlier one into the same field of the same dataset wrote, nothing else."""

    @pytest.fixture
    def imported(self, view, tmp_path):
        export(view, "masks", out=tmp_path / "all")
        import_masks(view, tmp_path / "all", "again")
        return view._dataset

    def contents(self, dataset, field="again"):
        return [Path(path).read_bytes() for path in dataset.values(f"{field}.mask_path") if path]

    def test_a_later_one_takes_the_files_of_the_earlier_one(self, imported, tmp_path):
        old = imported.values("again.mask_path")
        import_masks(imported, tmp_path / "all", "again", overwrite=True)
        assert not any(path and Path(path).exists() for path in old)
        assert not Path(next(filter(None, old))).parents[1].exists()
        assert self.contents(imported)

    @pytest.mark.parametrize("change", ["clone", "clone_sample_field", "rename_sample_field"])
    def test_files_that_something_else_shows_stay(self, fo, imported, tmp_path, change):
        before, source = self.contents(imported), imported
        if change == "clone":
            source = imported.clone()
        else:
            getattr(imported, change)("again", "backup")
        import_masks(source, tmp_path / "all", "again", overwrite=True)
        field = "again" if change == "clone" else "backup"
        assert self.contents(imported, field) == before
        if change == "clone":
            fo.delete_dataset(source.name)

    def test_a_dataset_under_an_old_name_meets_no_old_masks(self, fo, imported, tmp_path):
        before, name = self.contents(imported), imported.name
        imported.name = f"{name}-old"
        new = fo.Dataset(name)
        new.add_samples([fo.Sample(filepath=path) for path in imported.values("filepath")])
        import_masks(new, tmp_path / "all", "again")
        import_masks(new, tmp_path / "all", "again", overwrite=True)
        assert self.contents(imported) == before
        new.delete()

    def test_a_folder_that_another_field_shows_is_refused(self, imported, tmp_path):
        folder = Path(next(filter(None, imported.values("again.mask_path")))).parents[1]
        before = self.contents(imported)
        with pytest.raises(UsageError, match=r"field 'again' of dataset .* shows"):
            import_masks(imported, tmp_path / "all", "other", out=folder, overwrite=True)
        assert self.contents(imported) == before
        assert not imported.has_sample_field("other")

    def test_a_database_that_dies_is_one_sentence(self, imported, tmp_path, monkeypatch):
        from pymongo.errors import AutoReconnect

        def die(*_, **__):
            raise AutoReconnect("closed")

        before = self.contents(imported)
        with monkeypatch.context() as patch:
            patch.setattr(type(imported), "add_sample_field", die)
            with pytest.raises(MissingDependencyError, match="import again, over the field"):
                import_masks(imported, tmp_path / "all", "again", overwrite=True)
        assert self.contents(imported) == before
        import_masks(imported, tmp_path / "all", "again", overwrite=True)
        assert self.contents(imported) == before

    def test_names_of_labels_that_stay_are_kept(self, fo, imported, tmp_path):
        own = [fo.Segmentation(mask=np.full((2, 2), 200, np.uint8)) for _ in range(len(imported))]
        imported.skip(2).set_values("truth", own[2:])
        imported.mask_targets = {**imported.mask_targets, "truth": {200: "mine"}}
        imported.save()
        import_masks(imported.limit(2), tmp_path / "all", "truth", overwrite=True)
        assert imported.count("truth.mask") == len(imported) - 2
        assert imported.mask_targets["truth"][200] == "mine"
        some = next(id_ for id_ in imported.mask_targets["truth"] if id_ != 200)
        imported.mask_targets = {**imported.mask_targets, "truth": {some: "something else"}}
        imported.save()
        with pytest.raises(UsageError, match=rf"where id {some} is 'something else'"):
            import_masks(imported.limit(2), tmp_path / "all", "truth", overwrite=True)
        with pytest.raises(UsageError, match="no import wrote, on 1 of these"):
            import_masks(imported.limit(3), tmp_path / "all", "truth", overwrite=True)
        assert imported.count("truth.mask") == len(imported) - 2


# --- which sample a name means ---------------------------------------------------------------------


def coco(path, names):
    """A file with one annotation an image, of category 1, 2, ..."""
    box = [[0, 0, 8, 0, 8, 8, 0, 8]]
    document = {
        "images": [{"id": i, "file_name": n, "width": 8, "height": 8} for i, n in enumerate(names, 1)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i, "segmentation": box} for i, _ in enumerate(names, 1)
        ],
        "categories": [{"id": i, "name": f"c{i}"} for i, _ in enumerate(names, 1)],
    }
    path.write_text(json.dumps(document))
    return path


def ids_of(dataset, field):
    """Path below the folder -> the one id of its mask."""
    return {
        sample.filepath.split("/set/")[1]: int(np.unique(sample[field].get_mask()).item())
        for sample in dataset
        if sample[field] is not None
    }


def test_extensions_tell_images_apart(folders, tmp_path):
    dataset = folders("a.jpg", "a.png", "b.jpg")
    for number, prefix in enumerate(("", f"{tmp_path}/set/", "C:\\pics\\")):
        source = coco(tmp_path / "x.json", [prefix + name for name in ("a.jpg", "a.png", "b.jpg")])
        result = import_masks(dataset, source, f"f{number}", out=tmp_path / f"o{number}")
        assert (result.matched, result.skipped) == (3, [])
        assert ids_of(dataset, f"f{number}") == {"a.jpg": 1, "a.png": 2, "b.jpg": 3}
    # no mask for the name of another format
    result = import_masks(dataset, coco(tmp_path / "x.json", ["a.jpg", "b.png"]), "f", out=tmp_path / "o")
    assert [(entry.key, entry.reason) for entry in result.skipped] == [("b", "no sample of this name")]


def test_own_exports_of_images_that_differ_in_the_extension_come_back(fo, folders, tmp_path):
    dataset = folders("a.jpg", "a.png", "A.jpg", "sub/a.jpg")
    for number, sample in enumerate(dataset.iter_samples(autosave=True), 1):
        sample["gt"] = fo.Segmentation(mask=np.full((8, 8), number, np.uint8))
    dataset.mask_targets = {"gt": {i: f"c{i}" for i in range(1, 5)}}
    for kind in ("coco-instances", "coco-panoptic", "masks", "voc"):
        for mode in ("copy", "reference") if kind.startswith("coco") else ("copy",):
            out, field = tmp_path / f"{kind}-{mode}", f"{kind}_{mode}".replace("-", "_")
            export(dataset, "gt", out=out, format=kind, images=mode)
            result = import_masks(dataset, out, field, out=tmp_path / field)
            assert (result.matched, result.skipped) == (4, []), kind
            assert ids_of(dataset, field) == ids_of(dataset, "gt"), kind


def test_names_are_looked_up_in_the_whole_dataset(folders, tmp_path):
    dataset = folders("train/0.jpg", "val/0.jpg", "val/1.jpg")
    train = dataset.match(fo_filepath("train"))
    source = coco(tmp_path / "x.json", ["val/0.jpg", "0.jpg", "1.jpg"])
    with pytest.raises(UsageError, match=r"e\.g\. 'val/0': its sample is not in the view"):
        import_masks(train, source, "x", out=tmp_path / "o")
    result = import_masks(dataset, source, "x", out=tmp_path / "o")
    assert ids_of(dataset, "x") == {"val/0.jpg": 1, "val/1.jpg": 3}
    (entry,) = result.skipped
    assert entry.key == "0"
    assert entry.reason.startswith("may be any of 2 samples: ")
    assert all(f"{split}/0.jpg" in entry.reason for split in ("train", "val"))


def fo_filepath(part):
    from fiftyone import ViewField

    return ViewField("filepath").contains_str(f"/{part}/")


def test_only_a_field_of_masks_is_overwritten(folders, tmp_path):
    dataset = folders("a.jpg")
    with pytest.raises(UsageError, match="holds something else than masks"):
        import_masks(
            dataset, coco(tmp_path / "x.json", ["a.jpg"]), "tags", out=tmp_path / "o", overwrite=True
        )
    assert not (tmp_path / "o").exists()
