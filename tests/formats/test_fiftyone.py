"""Datasets and views as sources, FiftyOne's own export and importers, and the way back into a field."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import import_masks
from fiftyone_plugin.errors import MissingDependencyError, UsageError
from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.registry import formats

from .conftest import NAMES, read_folder
from .run_helpers import PAIR, TWO


@pytest.fixture
def view(fo, levels, originals):
    """Four samples with masks on disk, three in the database; qualities and tags."""
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    for i, path in enumerate(sorted((levels / "images").rglob("*.*"))):
        stem = path.relative_to(levels / "images").with_suffix("").as_posix()
        label = {"mask": originals[stem]} if i % 2 else {"mask_path": str(levels / "masks" / f"{stem}.png")}
        sample = fo.Sample(filepath=str(path), tags=[path.parent.name], masks=fo.Segmentation(**label))
        sample["masks_quality"] = i / 10
        dataset.add_sample(sample)
    dataset.mask_targets = {"masks": {int(k): v for k, v in NAMES.items()}}
    dataset.info = {"categories": [{"id": 1, "name": "night", "supercategory": "dark"}]}
    dataset.save()
    yield dataset
    fo.delete_dataset(dataset.name)


def load(path):
    return json.loads(path.read_text())


def test_a_view_is_exported_like_the_folder_with_the_same_masks(view, levels, tmp_path):
    export(view, "masks", out=tmp_path / "view", images="symlink")
    export(levels, out=tmp_path / "folder", images="symlink")
    ours, theirs = (load(tmp_path / n / "annotations" / "instances.json") for n in ("view", "folder"))
    assert [c["supercategory"] for c in ours["categories"]] == ["dark", "dusk", "dawn", "day"]
    for image in ours["images"]:
        image.pop("quality")
    for annotation in ours["annotations"]:
        annotation.pop("quality")
    assert ours["images"] == theirs["images"]
    assert ours["annotations"] == theirs["annotations"]


def test_qualities_and_splits_of_a_view(view, tmp_path):
    result = export(
        view, out=tmp_path / "o", splits=["train", "val"], min_quality=0.15, format="coco-results"
    )
    assert len(result.skipped) == 2
    results = [e for s in ("train", "val") for e in load(tmp_path / "o" / f"results_{s}.json")]
    assert {round(e["score"], 6) for e in results} == {0.2, 0.3, 0.4, 0.5, 0.6}
    assert result.splits == {"train": 2, "val": 3}


def test_a_view_of_some_samples_without_masks_or_twice(fo, view, tmp_path):
    first, second = view.first(), view.skip(1).first()
    first["masks"] = None
    first.save()
    view.add_sample(
        fo.Sample(filepath=second.filepath, masks=fo.Segmentation(mask=np.ones((2, 2), np.uint8)))
    )
    result = export(view, "masks", out=tmp_path / "o", format="masks")
    assert result.images == 6
    assert sorted(entry.reason for entry in result.failed) == [
        "another sample of the same file is exported",
        "no mask",
    ]
    empty = view.last()
    empty["masks"] = fo.Segmentation()
    empty.filepath = str(tmp_path / "other.jpg")
    Image.new("L", (2, 2)).save(empty.filepath)
    empty.save()
    result = export(view.select(empty.id).concat(view.select(second.id)), out=tmp_path / "p", format="masks")
    assert [entry.key.split("/")[-1] for entry in result.failed] == ["other.jpg"]


def test_colour_masks_are_classes_by_their_colour(fo, small, tmp_path):
    root = small({"a": np.zeros((2, 2), np.uint8)})
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0], colours[1, 1] = (255, 109, 4), (0, 0, 2)
    Image.fromarray(colours).save(tmp_path / "c.png")
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    dataset.add_sample(
        fo.Sample(
            filepath=str(root / "images" / "a.jpg"), seg=fo.Segmentation(mask_path=str(tmp_path / "c.png"))
        )
    )
    dataset.mask_targets = {"seg": {"#ff6d04": "sky", "#000002": "sea"}}
    dataset.save()
    try:
        result = export(dataset, out=tmp_path / "o", format="masks")
    finally:
        fo.delete_dataset(dataset.name)
    assert result.categories == {1: "sea", 2: "sky"}
    assert read_folder(tmp_path / "o" / "masks")["a"].tolist() == [[2, 0], [0, 1]]
    assert load(tmp_path / "o" / "classes.json") == {"1": "sea", "2": "sky"}


def test_palette_and_one_bit_masks_and_masks_in_the_database(fo, small, tmp_path):
    """What FiftyOne's App shows is exported: palettes by their colours, and the database before the disk."""
    root = small({"a": PAIR}, TWO)
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    palette = Image.fromarray(PAIR)
    palette.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(PAIR > 1).save(tmp_path / "bit.png")
    sample = fo.Sample(filepath=str(root / "images" / "a.jpg"))
    sample["palette"] = fo.Segmentation(mask_path=str(tmp_path / "palette.png"))
    sample["bit"] = fo.Segmentation(mask_path=str(tmp_path / "bit.png"))
    sample["edited"] = fo.Segmentation(mask_path=str(tmp_path / "bit.png"), mask=PAIR)
    dataset.add_sample(sample)
    dataset.mask_targets = {
        "palette": {"#800000": "one", "#008000": "two"},
        "bit": {0: "rest", 1: "object"},
        "edited": {1: "one", 2: "two"},
    }
    try:
        # colours become categories in the order of their numbers: #008000, #800000
        turned = np.array([0, 2, 1], np.uint8)[PAIR]
        expected = {"palette": turned, "bit": (PAIR > 1).astype(np.uint8), "edited": PAIR}
        for field, mask in expected.items():
            result = export(dataset, field, out=tmp_path / field, format="masks")
            assert (result.images, result.skipped) == (1, [])
            written = np.asarray(Image.open(tmp_path / field / "masks" / "a.png"))
            np.testing.assert_array_equal(written, mask)
    finally:
        dataset.delete()


def test_instances_of_another_field(fo, view, tmp_path):
    for sample in view.iter_samples(autosave=True):
        mask = sample.masks.get_mask()
        halves = np.ones_like(mask)
        halves[mask.shape[0] // 2 :] = 2
        sample["instances"] = fo.Segmentation(mask=halves)
    export(view, "masks", out=tmp_path / "o", instances_field="instances")
    annotations = load(tmp_path / "o" / "annotations" / "instances.json")["annotations"]
    keys = {(a["image_id"], a["category_id"], a["instance"]) for a in annotations}
    assert len(keys) == len(annotations) <= 7 * 4 * 2


def test_fields_that_cannot_be_exported(view, dataset, tmp_path):
    with pytest.raises(UsageError, match="no segmentation field; there are: masks"):
        export(view, "mask", out=tmp_path / "o")
    with pytest.raises(UsageError, match="no field 'q' for the quality"):
        export(view, out=tmp_path / "o", quality_field="q")
    with pytest.raises(UsageError, match="segmentation fields here: none"):
        export(dataset, out=tmp_path / "o")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["copy", "symlink"])
def test_a_dataset_that_lives_in_an_export_is_not_replaced(fo, view, tmp_path, mode):
    export(view, "masks", out=tmp_path / "o", format="masks")
    inside = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    for path in sorted((tmp_path / "o" / "images").rglob("*.*")):
        mask = next((tmp_path / "o" / "masks").rglob(f"{path.stem}.png"))
        inside.add_sample(fo.Sample(filepath=str(path), masks=fo.Segmentation(mask_path=str(mask))))
    try:
        with pytest.raises(UsageError, match="holds what is to be exported"):
            export(inside, out=tmp_path / "o", overwrite=True, images=mode)
    finally:
        fo.delete_dataset(inside.name)
    assert len(list((tmp_path / "o" / "images").rglob("*.*"))) == 7


# --- FiftyOne's own export and importers -----------------------------------------------------------


def test_exporter_classes_work_in_view_export(view, tmp_path):
    from fiftyone_plugin.formats import CocoPanopticExporter, SegmentationExporter, VocExporter

    calls = []
    view.export(
        dataset_exporter=VocExporter(tmp_path / "voc", images="symlink"), label_field="masks",
        progress=lambda bar: calls.append(bar.progress),
    )  # fmt: skip
    assert calls
    assert len(list((tmp_path / "voc" / "SegmentationClass").rglob("*.png"))) == 7
    exporter = CocoPanopticExporter(tmp_path / "panoptic", "masks", stuff=["night"])
    view.match_tags("val").export(dataset_exporter=exporter)
    assert exporter.result.images == 3
    for name in formats():
        exporter = SegmentationExporter(tmp_path / "all" / name, "masks", name, images="symlink")
        view.limit(1).export(dataset_exporter=exporter)
        assert exporter.result.format == name


def test_exporter_classes_stand_for_the_formats():
    import fiftyone_plugin.formats as package

    classes = [getattr(package, name) for name in package.__all__ if name.endswith("Exporter")]
    assert {cls.default_format for cls in classes} == set(formats())


@pytest.mark.parametrize("polygons", [False, True])
def test_fiftyones_coco_importer_reads_it(fo, view, originals, tmp_path, polygons):
    export(view, "masks", out=tmp_path / "o", polygons=polygons)
    again = fo.Dataset.from_dir(
        dataset_type=fo.types.COCODetectionDataset,
        data_path=str(tmp_path / "o" / "images"),
        labels_path=str(tmp_path / "o" / "annotations" / "instances.json"),
        label_types="segmentations",
        label_field="objects",
        name=f"test-{uuid.uuid4().hex[:12]}",
    )
    try:
        ids = {name: int(i) for i, name in NAMES.items()}
        assert len(again) == 7
        for sample in again:
            (mask,) = [m for stem, m in originals.items() if sample.filepath.rsplit(".", 1)[0].endswith(stem)]
            height, width = mask.shape
            canvas = np.zeros_like(mask)
            for detection in sample.objects.detections:
                x, y, w, h = (
                    np.multiply(detection.bounding_box, [width, height, width, height]).round().astype(int)
                )
                assert detection.mask.shape == (h, w)
                canvas[y : y + h, x : x + w][detection.mask > 0] = ids[detection.label]
            assert np.array_equal(canvas, mask)
    finally:
        fo.delete_dataset(again.name)


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


@pytest.fixture
def folders(fo, tmp_path):
    """``folders(names)`` makes a dataset of small pictures at these paths below a folder."""
    made = []

    def folders(*names):
        paths = [tmp_path / "set" / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
        dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
        dataset.add_samples([fo.Sample(filepath=str(path)) for path in paths])
        made.append(dataset)
        return dataset

    yield folders
    for dataset in made:
        fo.delete_dataset(dataset.name)


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


def test_qualities_that_are_none(fo, folders, tmp_path, caplog):
    dataset = folders("a.jpg", "b.jpg", "c.jpg")
    dataset.set_values("gt", [fo.Segmentation(mask=np.ones((8, 8), np.uint8)) for _ in range(3)])
    dataset.set_values("q", [0.5, float("nan"), float("inf")])
    dataset.set_values("out", [1.7, -3.0, None])
    dataset.set_values("text", ["good", "bad", None])
    result = export(dataset, "gt", out=tmp_path / "o", quality_field="q", min_quality=0.4)
    assert [(entry.key, entry.reason) for entry in result.skipped] == [
        ("b.jpg", "quality unknown"),
        ("c.jpg", "quality unknown"),
    ]
    assert "2 of 3 values of 'q' are not within 0..1" in caplog.text
    assert load(tmp_path / "o" / "export.json")["provenance"]["qualities_unknown"] == 2
    for field, reason in (("out", "no value is within 0..1"), ("text", "it holds no numbers")):
        with pytest.raises(UsageError, match=reason):
            export(dataset, "gt", out=tmp_path / "p", quality_field=field)
