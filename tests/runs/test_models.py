"""Models of finished runs: they label the same and new images, and are refused where they cannot."""

from __future__ import annotations

import shutil

import pytest

from fiftyone_plugin import label
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.backbones import OFFLINE_BACKBONE

from .run_helpers import BAD, add_bad, masks_of


def test_models_label_the_same_and_new_images(finished, few, odd, settings, tmp_path):
    """The backbone and the input size come from the model; the settings given here would be others."""
    model = finished.out / "model"
    again = label(few, out=tmp_path / "again", model=model, jobs=1, classes=9)
    assert masks_of(again.out) == masks_of(finished.out)
    assert again.class_names == finished.class_names
    assert not {"sample", "levels", "classes"} & set(again.run["seconds"])
    assert again.run["settings"]["model"] is not None
    assert again.run["settings"]["seed"] == 0
    new = label([odd / "grey.png", odd / "turned.jpg"], out=tmp_path / "new", model=model, jobs=1)
    assert len(new.labelled) == 2
    # a model is handed on: the folder of the new run can label in its turn
    third = label(few, out=tmp_path / "third", model=new.out / "model", jobs=1, cache=False)
    assert masks_of(third.out) == masks_of(finished.out)


@pytest.mark.parametrize("cache", [True, False])
def test_models_list_bad_images(finished, few, settings, tmp_path, cache):
    shutil.copytree(few, tmp_path / "images")
    add_bad(tmp_path / "images", few / "chelsea.jpg")
    result = label(
        tmp_path / "images", out=tmp_path / "run", model=finished.out / "model", jobs=1, cache=cache
    )
    assert {row.image: row.error for row in result.skipped} == BAD
    assert masks_of(result.out) == masks_of(finished.out)


def test_weights_that_have_moved_can_be_named(few, settings, tiny_weights, tmp_path):
    moved = tmp_path / "weights.safetensors"
    shutil.copy(tiny_weights, moved)
    first = label(few, out=tmp_path / "a", **{**settings, "backbone": str(moved)})
    moved.rename(tmp_path / "elsewhere.safetensors")
    model = first.out / "model"
    with pytest.raises(UsageError, match="no weights file at"):
        label(few, out=tmp_path / "b", model=model, jobs=1)
    again = label(
        few, out=tmp_path / "b", model=model, jobs=1, backbone=str(tmp_path / "elsewhere.safetensors")
    )
    assert masks_of(again.out) == masks_of(first.out)


def test_models_refuse_other_weights(finished, few, tmp_path, backbone):
    with pytest.raises(UsageError, match="fitted with other weights than offline-vits14"):
        label(few, out=tmp_path / "run", model=finished.out / "model", backbone=OFFLINE_BACKBONE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"backbone": 1}'])
def test_folders_that_are_no_model(few, tmp_path, content):
    model = tmp_path / "model"
    model.mkdir()
    if content is not None:
        (model / "pipeline.json").write_text(content)
    with pytest.raises(UsageError, match="is not the model folder of a run"):
        label(few, out=tmp_path / "run", model=model)


def test_a_run_never_destroys_the_model_it_uses(few, settings, tmp_path):
    label(few, out=tmp_path / "run", **settings)
    before = masks_of(tmp_path / "run")
    with pytest.raises(UsageError, match="choose another --out"):
        label(few, out=tmp_path / "run", model=tmp_path / "run" / "model", restart=True)
    assert masks_of(tmp_path / "run") == before
    assert (tmp_path / "run" / "model" / "arrays.safetensors").is_file()
