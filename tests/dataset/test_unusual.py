"""Datasets that are not plain folders of good images: words instead of tracebacks, nothing half-written."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest

from fiftyone_plugin import label_dataset, undo
from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.errors import PseudoMaskError, UsageError

pytestmark = pytest.mark.slow

URIS = [f"{PLUGIN_NAME}/{name}" for name in ("label_dataset", "preview_masks")]


@pytest.fixture
def empty(fo):
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    yield dataset
    if fo.dataset_exists(dataset.name):
        fo.delete_dataset(dataset.name)


@pytest.fixture
def paths(photos):
    return [str(path) for path in sorted(photos.iterdir())]


@pytest.fixture
def grouped(fo, empty, paths):
    """Three groups of a left and a right photograph."""
    empty.add_group_field("group", default="left")
    samples = []
    for left, right in zip(paths[:3], paths[3:6], strict=True):
        group = fo.Group()
        samples.append(fo.Sample(filepath=left, group=group.element("left")))
        samples.append(fo.Sample(filepath=right, group=group.element("right")))
    empty.add_samples(samples)
    return empty


def form_of(dataset, uri, **request):
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionContext

    request = {"dataset_name": dataset.name, "params": {}, **request}
    context = ExecutionContext(request, operator_uri=uri, required_secrets=[])
    return foo.get_operator(uri).resolve_type(context, "inputs").type.properties


def click(dataset, uri=f"{PLUGIN_NAME}/quick_label", **request):
    """Return what a click tells the App."""
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionContext, Executor

    request = {"operator_uri": uri, "dataset_name": dataset.name, "params": {}, **request}
    context = ExecutionContext(request, executor=Executor(), operator_uri=uri, required_secrets=[])
    return [(m.body.operator_uri, m.body.params) for m in foo.get_operator(uri).execute(context)]


def said(told):
    return " ".join(params["message"] for name, params in told if name == "notify")


def unchanged(dataset):
    dataset.reload()
    return dataset.list_runs() == [] and not any("mask" in name for name in dataset.get_field_schema())


class TestRefused:
    """What cannot be labelled: the form says so, a click says so, Python raises, nothing is written."""

    def check(self, view, dataset, match):
        request = {"view": view.view()._serialize()}
        with pytest.raises(UsageError, match=match):
            label_dataset(view, "mask")
        for uri in URIS:
            shown = form_of(dataset, uri, **request)
            assert any(match in (prop.view.description or "") for prop in shown.values() if prop.view)
            assert any(prop.invalid for prop in shown.values())
        assert match in said(click(dataset, **request))
        assert unchanged(dataset)

    def test_empty(self, empty):
        self.check(empty, empty, "the view is empty")

    def test_video(self, fo, empty, tmp_path):
        empty.add_sample(fo.Sample(filepath=str(tmp_path / "clip.mp4")))
        self.check(empty, empty, "'video'")

    def test_3d(self, fo, empty, tmp_path):
        scene = fo.Scene()
        scene.add(fo.BoxGeometry("box", width=1, height=1, depth=1)) if hasattr(fo, "BoxGeometry") else None
        scene.write(str(tmp_path / "scene.fo3d"))
        empty.add_sample(fo.Sample(filepath=str(tmp_path / "scene.fo3d")))
        self.check(empty, empty, "only images can be labelled")

    def test_point_clouds(self, fo, empty, tmp_path):
        empty.add_sample(fo.Sample(filepath=str(tmp_path / "cloud.pcd")))
        self.check(empty, empty, "only images can be labelled")

    def test_patches(self, fo, dataset):
        def boxes():
            return fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0, 0, 0.5, 0.5])])

        dataset.set_values("boxes", [boxes() for _ in dataset])
        self.check(dataset.to_patches("boxes"), dataset, "view of patches")

    def test_a_view_that_filters_everything(self, dataset):
        self.check(dataset.match_tags("none has it"), dataset, "the view is empty")


class TestGroups:
    def test_in_the_app_the_active_slice_is_labelled(self, grouped, monkeypatch, tiny_weights):
        import fiftyone.operators as foo

        params = {
            "field": "mask",
            "method": "lightcluster",
            "size": 96,
            "classes": 3,
            "refine": "none",
            "backbone": "file",
            "weights": tiny_weights,
        }
        for uri in URIS:
            assert not any(p.invalid for p in form_of(grouped, uri, group_slice="right").values())
        uri = URIS[0]
        told = click(grouped, uri, group_slice="right", params=params | {"apart": True})
        assert told[-1][0] == "notify", told[-1]
        assert told[-1][1]["message"].startswith("3 images labelled")
        grouped.reload()
        right = grouped.select_group_slices("right")
        assert len(right.exists("mask")) == 3
        assert all(sample.mask.get_mask().ndim == 2 for sample in right)
        assert len(grouped.select_group_slices("left").exists("mask")) == 0
        undo(grouped, "pseudomask_mask")
        assert unchanged(grouped)
        foo.list_operators()

    def test_python_asks_for_a_slice(self, grouped, fast, tmp_path):
        with pytest.raises(UsageError, match="select_group_slices"):
            label_dataset(grouped, "mask", **fast)
        view = grouped.select_group_slices(media_type="image")
        result = label_dataset(view, "mask", out=tmp_path / "run", **fast)
        assert len(result.labelled) == len(view) == len(view.exists("mask")) == 6
        undo(grouped, "pseudomask_mask")
        assert unchanged(grouped)

    def test_edits_and_views_act_on_the_slice_that_was_labelled(self, grouped, fast, tmp_path):
        from fiftyone_plugin.dataset import editing
        from fiftyone_plugin.dataset.editing.names import class_names, rename_classes

        right = grouped.select_group_slices("right")
        label_dataset(right, "mask", out=tmp_path / "run", **fast)
        assert grouped.group_slice == "left"
        shown = grouped.load_saved_view("mask: review first")
        assert set(shown.values("group.name")) == {"right"}
        names = class_names(grouped, "mask")
        rename_classes(grouped, "mask", {id_: f"thing {id_}" for id_ in names})
        assert {name for listed in right.values("mask_classes") for name in listed} <= {
            f"thing {id_}" for id_ in names
        }
        assert editing.masks_to_detections(grouped, "mask", min_area=1).samples == 3
        editing.merge_classes(grouped, "mask", list(names))
        for sample in grouped.select_group_slices("right"):
            assert set(sample.mask.get_mask().ravel().tolist()) <= {0, min(names)}
        undo(grouped, "pseudomask_mask")
        assert grouped.list_runs() == []

    def test_the_advice_for_dynamic_groups_works(self, dataset, fast, tmp_path):
        dataset.set_values("scene", [str(i % 2) for i in range(len(dataset))])
        view = dataset.group_by("scene")
        with pytest.raises(UsageError, match=r"view.flatten\(\)"):
            label_dataset(view, "mask", **fast)
        assert len(label_dataset(view.flatten(), "mask", out=tmp_path / "run", **fast).labelled) == 7

    def test_overwritten_values_of_another_slice_are_emptied_again(self, grouped, fast, tmp_path, fo):
        right = grouped.select_group_slices("right")
        grouped.add_sample_field("mask_coverage", fo.FloatField)
        label_dataset(right, "mask", out=tmp_path / "run", overwrite=True, **fast)
        assert right.count("mask_coverage") == 3
        undo(grouped, "pseudomask_mask")
        assert grouped.select_group_slices("right").count("mask_coverage") == 0


class TestFiles:
    def test_missing_files_are_listed(self, dataset, fo, fast, tmp_path):
        dataset.add_sample(fo.Sample(filepath=str(tmp_path / "gone.jpg")))
        result = label_dataset(dataset, "mask", out=tmp_path / "run", **fast)
        assert [(Path(row.image).name, row.error) for row in result.skipped] == [("gone.jpg", "no such file")]
        assert len(dataset.exists("mask")) == len(dataset) - 1

    def test_only_missing_files_leave_nothing(self, empty, fo, fast, tmp_path):
        empty.add_samples([fo.Sample(filepath=str(tmp_path / f"gone{i}.jpg")) for i in range(3)])
        with pytest.raises(PseudoMaskError, match="none of the 3 images could be read"):
            label_dataset(empty, "mask", out=tmp_path / "run", **fast)
        assert unchanged(empty)
        assert not (tmp_path / "run").exists()

    def test_a_read_only_media_folder_is_only_read(self, empty, fo, fast, photos, tmp_path):
        media = tmp_path / "media"
        shutil.copytree(photos, media)
        before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in media.iterdir()}
        for path in [*media.iterdir(), media]:
            path.chmod(stat.S_IREAD | stat.S_IEXEC)
        try:
            empty.add_samples([fo.Sample(filepath=str(path)) for path in sorted(media.iterdir())])
            result = label_dataset(empty, "mask", out=tmp_path / "run", **fast)
            assert len(result.labelled) == 7
        finally:
            media.chmod(0o700)
        assert {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in media.iterdir()} == before

    def test_a_folder_for_masks_that_cannot_be_made(self, dataset, fast, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="cannot write"):
            label_dataset(dataset, "mask", out=tmp_path / "file" / "run", **fast)
        assert unchanged(dataset)

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
    def test_a_folder_for_masks_that_is_read_only(self, dataset, fast, tmp_path):
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(UsageError, match="cannot write"):
                label_dataset(dataset, "mask", out=tmp_path / "run", **fast)
        finally:
            tmp_path.chmod(0o700)
        assert unchanged(dataset)

    def test_settings_that_are_refused_leave_the_earlier_run(self, dataset, fast, tmp_path):
        label_dataset(dataset, "mask", out=tmp_path / "a", **fast)
        with pytest.raises(UsageError, match="size"):
            label_dataset(dataset, "mask", out=tmp_path / "b", overwrite=True, **{**fast, "size": 3})
        assert len(dataset.exists("mask")) == 7
        assert dataset.get_run_info("pseudomask_mask").config.status == "complete"


STAGES = ["load backbone", "sample", "masks", "contact sheet", "write fields"]


class TestDeletedWhileRunning:
    class DeleteAt:
        """Deletes the dataset when a stage begins."""

        def __init__(self, delete, stage):
            from fiftyone_plugin.common.progress import NullProgress

            self.delete, self.at, self.inner = delete, stage, NullProgress()

        def stage(self, name, total=None, unit="img"):
            if name == self.at:
                self.delete()
            return self.inner.stage(name, total, unit)

    @pytest.mark.parametrize("stage", STAGES)
    def test_in_this_process(self, dataset, fo, fast, tmp_path, stage):
        name = dataset.name
        progress = self.DeleteAt(lambda: fo.delete_dataset(name), stage)
        with pytest.raises(PseudoMaskError, match="was deleted"):
            label_dataset(dataset, "mask", out=tmp_path / "run", progress=progress, **fast)
        assert not fo.dataset_exists(name)
        assert len(list((tmp_path / "run" / "masks").glob("*.png"))) == 7

    def test_by_another_process(self, dataset, fo, fast, tmp_path):
        from fiftyone.core.odm import get_db_conn

        name = dataset.name
        samples = dataset._sample_collection_name
        code = f"import fiftyone as fo; fo.delete_dataset({name!r})"
        delete = [sys.executable, "-c", textwrap.dedent(code)]
        progress = self.DeleteAt(lambda: subprocess.run(delete, check=True), "write fields")
        with pytest.raises(PseudoMaskError, match="was deleted"):
            label_dataset(dataset, "mask", out=tmp_path / "run", progress=progress, **fast)
        assert not fo.dataset_exists(name)
        assert samples not in get_db_conn().list_collection_names()
        assert get_db_conn().datasets.count_documents({"name": name}) == 0
