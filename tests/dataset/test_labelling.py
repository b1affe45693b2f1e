"""FiftyOne datasets: listing, writing back, running again, undoing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin.dataset.claiming import default_out
from fiftyone_plugin.dataset.keys import run_key
from fiftyone_plugin.dataset.record import load_dataset
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import list_view

pytestmark = pytest.mark.slow

FAST = {"size": 140, "classes": 3, "refine": "none", "backbone": "offline-vits14", "jobs": 1}


@pytest.fixture
def fields_before(dataset):
    return set(dataset.get_field_schema())


@pytest.mark.usefixtures("backbone")
class TestLabelDataset:
    def test_writes_its_own_fields_and_nothing_into_the_database(self, dataset, tmp_path):
        result = label_dataset(dataset, "auto", out=tmp_path / "run", **FAST)
        assert len(result.labelled) == len(dataset)
        for sample in dataset:
            row = next(r for r in result.samples if Path(r.image).name == Path(sample.filepath).name)
            assert sample.auto.mask is None
            mask = sample.auto.get_mask()
            assert mask.shape == (row.height, row.width)
            assert sample.auto_classes == [result.class_names[c] for c in np.unique(mask) if c]
            assert sample.auto_coverage == pytest.approx((mask > 0).mean())
        assert dataset.mask_targets["auto"] == result.class_names
        info = dataset.get_run_info(run_key("auto"))
        assert info.config.method == "pseudomask"
        assert info.config.status == "complete"
        assert info.config.settings == result.run["settings"]

    def test_undo_removes_exactly_what_the_run_made(self, dataset, tmp_path, fields_before):
        dataset.mask_targets = {"other": {1: "keep"}}
        dataset.save()
        out = tmp_path / "run"
        label_dataset(dataset, "auto", out=out, **FAST)
        (out / "notes.txt").write_text("mine")
        undo(dataset, run_key("auto"))
        assert set(dataset.get_field_schema()) == fields_before
        assert dataset.mask_targets == {"other": {1: "keep"}}
        assert dataset.list_runs() == []
        assert [p.name for p in out.rglob("*")] == ["notes.txt"]
        assert all(Path(sample.filepath).is_file() for sample in dataset)

    def test_quality_and_confidence_are_written(self, dataset, tmp_path, fo):
        result = label_dataset(dataset, "auto", out=tmp_path / "run", **FAST)
        rows = {row.image.rsplit("/")[-1]: row for row in result.labelled}
        for sample in dataset:
            row = rows[Path(sample.filepath).name]
            assert sample.auto_quality == pytest.approx(row.quality)
            assert 0 < row.quality <= 1
            assert isinstance(sample.auto_confidence, fo.Heatmap)
            assert sample.auto_confidence.range == [0, 255]
            found = np.asarray(Image.open(sample.auto_confidence.map_path))
            assert found.dtype == np.uint8
            assert max(found.shape) <= 128

    def test_undo_leaves_no_folder_behind(self, dataset, tmp_path):
        label_dataset(dataset, "auto", out=tmp_path / "run", **FAST)
        undo(dataset, run_key("auto"))
        assert not (tmp_path / "run").exists()

    def test_existing_fields_are_refused_without_overwrite(self, dataset, tmp_path, fo):
        dataset.add_sample_field("auto_coverage", fo.FloatField)
        with pytest.raises(UsageError, match="auto_coverage"):
            label_dataset(dataset, "auto", out=tmp_path / "run", **FAST)
        assert dataset.list_runs() == []
        assert not (tmp_path / "run").exists()

    def test_a_finished_run_is_replaced_only_with_overwrite(self, dataset, tmp_path):
        label_dataset(dataset, "auto", out=tmp_path / "a", **FAST)
        with pytest.raises(UsageError, match="overwrite"):
            label_dataset(dataset, "auto", out=tmp_path / "b", **FAST)
        again = label_dataset(dataset, "auto", out=tmp_path / "b", overwrite=True, **{**FAST, "classes": 2})
        assert len(again.class_names) == 2
        assert not (tmp_path / "a").exists()
        assert dataset.mask_targets["auto"] == {1: "class 1", 2: "class 2"}

    def test_overwritten_foreign_values_survive_on_other_samples(self, dataset, tmp_path, fo):
        first, *others = dataset.values("id")
        dataset.set_values("auto_coverage", dict.fromkeys(dataset.values("id"), 0.25), key_field="id")
        label_dataset(dataset.select(first), "auto", out=tmp_path / "run", overwrite=True, **FAST)
        assert [dataset[i].auto_coverage for i in others] == [0.25] * len(others)
        undo(dataset, run_key("auto"))
        assert dataset[first].auto_coverage is None
        assert [dataset[i].auto_coverage for i in others] == [0.25] * len(others)
        assert not dataset.has_sample_field("auto")

    def test_an_interrupted_run_goes_on(self, dataset, tmp_path):
        class StopAtMasks:
            def __init__(self):
                from fiftyone_plugin.common.progress import CallbackProgress

                self.stage = CallbackProgress(self._stop, interval=0).stage

            def _stop(self, stage, done, total):
                if stage == "masks" and done == 2:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            label_dataset(dataset, "auto", out=tmp_path / "run", progress=StopAtMasks(), **FAST)
        assert dataset.get_run_info(run_key("auto")).config.status == "running"
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "masks").rglob("*.png")}
        assert before
        result = label_dataset(dataset, "auto", **FAST)
        assert result.out == tmp_path / "run"
        assert len(result.labelled) == len(dataset)
        assert all(p.stat().st_mtime_ns == t for p, t in before.items())

    def test_an_interrupted_run_can_be_undone(self, dataset, tmp_path, fields_before):
        class Stop:
            def stage(self, name, total=None, unit="img"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            label_dataset(dataset, "auto", out=tmp_path / "run", progress=Stop(), **FAST)
        undo(dataset, run_key("auto"))
        assert set(dataset.get_field_schema()) == fields_before
        assert dataset.list_runs() == []

    def test_bad_samples_are_listed_and_left_empty(self, dataset, tmp_path, fo):
        broken = tmp_path / "broken.png"
        broken.write_bytes(b"not an image")
        sample_id = dataset.add_sample(fo.Sample(filepath=str(broken)))
        result = label_dataset(dataset, "auto", out=tmp_path / "run", **FAST)
        assert [Path(row.image).name for row in result.skipped] == ["broken.png"]
        assert dataset[sample_id].auto is None
        assert len(dataset.exists("auto")) == len(dataset) - 1

    def test_default_folder_lies_below_the_default_dataset_folder(self, dataset, fo):
        folder = default_out(dataset, "auto")
        assert folder.is_relative_to(fo.config.default_dataset_dir)
        result = label_dataset(dataset, "auto", **FAST)
        assert result.out.parent == folder.parent
        assert result.out.name.startswith("auto-")  # every run has a folder of its own
        undo(dataset, run_key("auto"))
        assert not folder.parent.exists()


class TestRefusals:
    def test_empty(self, fo):
        dataset = fo.Dataset()
        with pytest.raises(UsageError, match="empty"):
            list_view(dataset)
        dataset.delete()

    def test_video(self, fo, tmp_path):
        dataset = fo.Dataset()
        dataset.add_sample(fo.Sample(filepath=str(tmp_path / "clip.mp4")))
        with pytest.raises(UsageError, match="video"):
            list_view(dataset)
        dataset.delete()

    def test_grouped(self, fo, photos):
        dataset = fo.Dataset()
        dataset.add_group_field("group", default="left")
        group = fo.Group()
        path = str(next(p for p in Path(photos).iterdir()))
        dataset.add_sample(fo.Sample(filepath=path, group=group.element("left")))
        with pytest.raises(UsageError, match="select_group_slices"):
            list_view(dataset)
        dataset.delete()

    def test_patches(self, dataset, fo):
        first = dataset.first()
        first["boxes"] = fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0, 0, 0.5, 0.5])])
        first.save()
        with pytest.raises(UsageError, match="patches"):
            list_view(dataset.to_patches("boxes"))

    def test_unknown_dataset(self, fo):
        with pytest.raises(UsageError, match="no FiftyOne dataset 'nowhere'"):
            load_dataset("nowhere")

    @pytest.mark.parametrize("name", ["", "1mask", "a.b", "_mask", "a b"])
    def test_field_names(self, dataset, name):
        with pytest.raises(UsageError, match="field name"):
            label_dataset(dataset, name)

    def test_undo_of_foreign_runs(self, dataset):
        dataset.register_run("theirs", dataset.init_run(method="other"))
        with pytest.raises(UsageError, match="theirs"):
            undo(dataset, "theirs")
        assert dataset.list_runs() == ["theirs"]

    def test_paths_that_are_not_in_their_normal_form(self, dataset):
        first = Path(dataset.first().filepath)
        dataset.set_values(
            "filepath", {dataset.first().id: f"{first.parent}/x/..//{first.name}"}, key_field="id"
        )
        entries = list_view(dataset)
        assert sum(len(entry.sample_ids) for entry in entries) == len(dataset)
        assert str(first) in {entry.item.path for entry in entries}

    def test_one_file_shown_by_two_samples(self, dataset, fo):
        dataset.add_sample(fo.Sample(filepath=dataset.first().filepath))
        entries = list_view(dataset)
        assert len(entries) == len(dataset) - 1
        assert sorted(len(entry.sample_ids) for entry in entries)[-1] == 2
