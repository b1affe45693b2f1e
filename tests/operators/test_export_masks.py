from __future__ import annotations

import base64
import io
import json
import re
import uuid
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin._version import PLUGIN_NAME

EXPORT, IMPORT = f"{PLUGIN_NAME}/export_masks", f"{PLUGIN_NAME}/import_masks"


@pytest.fixture
def operator(foo):
    return foo.get_operator(EXPORT)


@pytest.fixture
def masks(fo, tmp_path):
    """Six small images with masks of classes 1 and 2, and qualities 0.0, 0.1, ..."""
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    (tmp_path / "in").mkdir()
    for i in range(6):
        mask = np.ones((20, 30), np.uint8)
        mask[:, 10 + i :] = 2
        mask[:2] = 0
        path = tmp_path / "in" / f"{i}.jpg"
        Image.new("RGB", (30, 20)).save(path)
        sample = fo.Sample(filepath=str(path), pseudo_mask=fo.Segmentation(mask=mask))
        sample["pseudo_mask_quality"] = i / 10
        sample.tags = ["accepted"] if i > 3 else []
        dataset.add_sample(sample)
    dataset.mask_targets = {"pseudo_mask": {1: "sky", 2: "sea"}}
    dataset.save()
    yield dataset
    fo.delete_dataset(dataset.name)


def defaults(properties):
    return {name: prop.default for name, prop in properties.items() if prop.default is not None}


def folder_offered(properties):
    shown = properties["out"].view.description.rsplit("empty: ")[1]
    return Path(re.sub(r"\\(?=\W|_)", "", shown))  # Markdown has a backslash before what is not layout


def refused(properties):
    return {name: prop.error_message for name, prop in properties.items() if prop.invalid}


def test_the_defaults_of_the_form_work_as_they_are(run, form, masks):
    properties = form(EXPORT, masks)
    assert refused(properties) == {}
    offered = folder_offered(properties)
    values = defaults(properties)
    assert (values["field"], values["format"], values["images"]) == ("pseudo_mask", "coco-instances", "copy")
    _, summary = run(EXPORT, masks, values)
    assert Path(summary["folder"]) == offered
    assert (summary["images"], summary["annotations"], summary["classes"], summary["skipped"]) == (
        6,
        12,
        2,
        0,
    )
    document = json.loads((offered / "annotations" / "instances.json").read_text())
    assert [c["name"] for c in document["categories"]] == ["sky", "sea"]
    # the next export is offered another folder
    assert folder_offered(form(EXPORT, masks)) == offered.with_name(f"{offered.name}-2")
    json.dumps(summary)


def test_small_exports_are_downloaded_without_images(run, masks, tmp_path):
    out = tmp_path / "o"
    messages, summary = run(EXPORT, masks, {"out": str(out), "format": "voc"})
    (download,) = [m for m in messages if m.operator_uri == "browser_download"]
    assert summary["download"] == "o.zip"
    assert download.params["filename"] == "o.zip"
    content = base64.b64decode(download.params["url"].removeprefix("data:application/zip;base64,"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = set(archive.namelist())
        assert archive.read("o/SegmentationClass/0.png") == (out / "SegmentationClass" / "0.png").read_bytes()
    assert names == {
        "o/export.json", "o/labelmap.txt", "o/ImageSets/Segmentation/trainval.txt",
        *(f"o/SegmentationClass/{i}.png" for i in range(6)),
    }  # fmt: skip


def test_large_exports_are_not_downloaded(module, tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").write_bytes(b"x" * 1000)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"x" * 5000)
    assert module.pack_labels(tmp_path, limit=999) is None
    assert module.pack_labels(tmp_path, limit=1000) is not None


def test_options_reach_the_export(run, foo, operator, masks, tmp_path):
    out = tmp_path / "o"
    result = operator(
        masks.match_tags("accepted"), "pseudo_mask", out, format="masks", images="symlink", min_quality=0.45
    )
    assert result.error is None
    assert [p.name for p in (out / "masks").iterdir()] == ["5.png"]
    assert (out / "images" / "5.jpg").is_symlink()
    _, summary = run(EXPORT, masks, {"out": str(out), "overwrite": True, "tag": "accepted", "min_area": 200})
    assert summary["images"] == 2
    document = json.loads((out / "annotations" / "instances.json").read_text())
    assert [a["area"] for a in document["annotations"]] == [14 * 18, 16 * 18, 15 * 18, 15 * 18]


def test_masks_to_train_on_are_split_and_downloaded_without_images(foo, module, operator, masks, tmp_path):
    out = tmp_path / "o"
    result = operator(masks, "pseudo_mask", out, format="huggingface", val=0.5)
    assert result.error is None
    assert [len(list((out / split / "label").iterdir())) for split in ("train", "val")] == [3, 3]
    with zipfile.ZipFile(io.BytesIO(module.pack_labels(out))) as archive:
        names = archive.namelist()
    assert sum("/label/" in name for name in names) == 6
    assert not any("/image/" in name for name in names)


def test_every_format_is_explained_in_the_form(form, masks):
    from fiftyone_plugin.formats.registry import formats

    choices = {choice.value: choice.description for choice in form(EXPORT, masks)["format"].view.choices}
    assert choices == {name: entry.description for name, entry in formats().items()}
    assert form(EXPORT, masks, format="voc")["format"].view.description == formats()["voc"].description
    assert folder_offered(form(EXPORT, masks, format="voc")).name == "pseudo_mask-voc"


def test_what_would_be_refused_is_said_in_the_form(run, form, masks, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("")
    assert "no export wrote" in refused(form(EXPORT, masks, out=str(tmp_path / "mine")))["out"]
    assert "absolute path" in refused(form(EXPORT, masks, out="here"))["out"]
    run(EXPORT, masks, {"out": str(tmp_path / "o")})
    assert "holds an export" in refused(form(EXPORT, masks, out=str(tmp_path / "o")))["out"]
    assert refused(form(EXPORT, masks, out=str(tmp_path / "o"), overwrite=True)) == {}


def test_a_dataset_without_masks(form, dataset):
    properties = form(EXPORT, dataset)
    assert refused(properties) == {"field": "this dataset has no segmentation field: label it first"}


def test_a_delegated_run_does_the_same(foo, masks, tmp_path):
    from fiftyone.operators.delegated import DelegatedOperationService

    params = {"out": str(tmp_path / "o"), "format": "coco-panoptic"}
    foo.execute_operator(EXPORT, {"dataset": masks, "params": params}, request_delegation=True)
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=masks.name)
    (operation,) = service.list_operations(dataset_name=masks.name)
    assert operation.run_state == "completed"
    assert operation.result.result["annotations"] == 12
    assert (tmp_path / "o" / "annotations" / "panoptic" / "0.png").is_file()


# --- import ----------------------------------------------------------------------------------------


def test_an_export_comes_back_as_a_field(run, form, foo, masks, tmp_path):
    run(EXPORT, masks, {"out": str(tmp_path / "o")})
    importer = foo.get_operator(IMPORT)
    assert set(refused(form(IMPORT, masks, source=str(tmp_path / "none")))) == {"source"}
    assert set(refused(form(IMPORT, masks, source=str(tmp_path), field="pseudo_mask"))) == {"field"}
    mine = form(IMPORT, masks, source=str(tmp_path), field="pseudo_mask", overwrite=True)
    assert "not filled by an import" in refused(mine)["field"]
    assert "overwrite" not in mine
    messages, summary = run(IMPORT, masks, {"source": str(tmp_path / "o"), "field": "again"})
    assert (summary["matched"], summary["skipped"]) == (6, 0)
    assert "reload_dataset" in [m.operator_uri for m in messages]
    masks.reload()
    for sample in masks:
        assert np.array_equal(sample.again.get_mask(), sample.pseudo_mask.mask)
    assert "Overwrite" in refused(form(IMPORT, masks, source=str(tmp_path), field="again"))["field"]
    assert refused(form(IMPORT, masks, source=str(tmp_path), field="again", overwrite=True)) == {}
    result = importer(masks.limit(2), tmp_path / "o", "two")
    assert result.error is None
    assert masks.count("two") == 2


def test_the_form_says_which_images_and_a_selection_is_exported_alone(
    operator, masks, context, run, tmp_path
):
    ids = masks.values("id")

    def said(**request):
        asked = context(EXPORT, masks, **request)
        return operator.resolve_input(asked).type.properties["taken"].view.label

    assert said() == "Exports all 6 images"
    assert said(view=masks.limit(4)._serialize()) == "Exports 4 of 6 images"
    selection = {"selected": ids[1:3], "view_target": "SELECTED_SAMPLES"}
    assert said(**selection) == "Exports 2 of 6 images"
    assert said(**selection | {"view_target": "DATASET"}) == "Exports all 6 images"
    run(EXPORT, masks, {"out": str(tmp_path / "o"), "format": "masks"}, **selection)
    assert sorted(path.stem for path in (tmp_path / "o" / "masks").iterdir()) == ["1", "2"]
