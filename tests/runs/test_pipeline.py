"""Runs from image files to masks, with a small random network: what is written, and refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import label
from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.errors import ImageReadError, PseudoMaskError, UsageError
from fiftyone_plugin.features.backbones import OFFLINE_BACKBONE
from fiftyone_plugin.images.reading import image_size, read_image
from fiftyone_plugin.runs.samples import read_samples

from .run_helpers import BAD, add_bad, masks_of

pytestmark = pytest.mark.slow

STAGES = (
    "load backbone", "sample", "levels", "foreground, regions", "classes", "masks",
    "contact sheet", "exemplars",
)  # fmt: skip


def test_files_of_a_run(finished, few):
    out = finished.out
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        "run.json", "samples.csv", "classes.json", "contact_sheet.png",
        "model/method.json", "model/arrays.safetensors", "model/pipeline.json",
        *(
            f"{folder}/{name}.png"
            for folder in ("masks", "confidence")
            for name in ("astronaut", "chelsea", "sub/coffee", "sub/rocket")
        ),
        *(f"exemplars/class_{k:04d}.jpg" for k in {k for row in finished.labelled for k in row.class_ids}),
    }  # fmt: skip
    assert not (out / ".work").exists()
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.mode == "RGB"
        assert min(sheet.size) > 300


def test_the_evidence_for_the_number_of_classes_is_drawn(few, settings, tmp_path):
    found = {**settings, "method": "mosaic", "options": {}, "classes": "auto"}
    result = label(few, out=tmp_path / "run", **found)
    assert len(result.class_names) >= 5
    with Image.open(tmp_path / "run" / "eigenvalues.png") as picture:
        assert picture.format == "PNG"
    for row in result.labelled:
        assert set(row.class_qualities) == set(row.class_ids)
        assert all(0 <= quality <= 1 for quality in row.class_qualities.values())
    label(few, out=tmp_path / "run", overwrite=True, **{**found, "classes": 3})
    assert not (tmp_path / "run" / "eigenvalues.png").exists()


def test_masks_fit_their_images(finished, few):
    assert finished.skipped == []
    # the tests below compare masks: they must not all be empty, or all the same
    assert sum(row.coverage > 0 for row in finished.labelled) >= 3
    assert len({row.classes for row in finished.labelled}) >= 2
    for row in finished.labelled:
        with Image.open(finished.mask_path(row)) as image:
            assert image.mode == "L"
            mask = np.asarray(image)
        assert mask.shape == read_image(few / row.image).shape[:2] == (row.height, row.width)
        assert row.class_ids == [c for c in np.unique(mask) if c]
        assert set(row.class_ids) <= set(finished.class_names)
        assert row.coverage == pytest.approx((mask > 0).mean())
        assert row.seconds > 0


def test_tables_and_records_say_the_same(finished, settings, tiny_weights):
    import hashlib

    out = finished.out
    rows = read_samples(out / "samples.csv")
    assert [row.image for row in rows] == ["astronaut.jpg", "chelsea.jpg", "sub/coffee.jpg", "sub/rocket.jpg"]
    assert [row.class_ids for row in rows] == [row.class_ids for row in finished.samples]
    run = json.loads((out / "run.json").read_text())
    assert run == finished.run
    assert run["status"] == "complete"
    assert run["counts"] == {"images": 4, "labelled": 4, "skipped": 0}
    backbone = run["settings"]["backbone"]
    assert backbone["weights_file_sha256"] == hashlib.sha256(Path(tiny_weights).read_bytes()).hexdigest()
    assert backbone["precision"] == "float32"
    assert run["settings"]["method_config"]["max_regions"] == 3
    assert run["settings"]["seed"] == run["settings"]["method_config"]["random_state"] == 0
    assert run["settings"]["size"] == 96
    assert run["resources"]["jobs"] == 1
    assert {"torch", "timm", "numpy", "scikit-learn", "python"} <= set(run["versions"])
    assert set(STAGES) <= set(run["seconds"])
    assert sum(run["seconds"][stage] for stage in STAGES) <= run["seconds"]["total"] + 0.1
    classes = json.loads((out / "classes.json").read_text())
    assert classes == run["classes"] == {str(k): name for k, name in finished.class_names.items()}
    assert list(classes) == [str(k) for k in range(1, len(classes) + 1)]


def test_a_taken_folder_is_refused_before_weights_are_looked_for(few, settings, tmp_path, finished):
    absent = settings | {"backbone": str(tmp_path / "absent.safetensors")}
    with pytest.raises(UsageError, match="holds a finished run"):
        label(few, out=finished.out, **absent)
    with pytest.raises(PseudoMaskError, match="absent"):
        label(few, out=tmp_path / "new", **absent)
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(PseudoMaskError, match="absent"):
        label(few, out=tmp_path / "mine", **absent)
    assert (tmp_path / "mine").is_dir()


def test_odd_images_are_labelled(odd, settings, tmp_path):
    result = label(odd, out=tmp_path / "run", **settings)
    assert result.skipped == []
    for row in result.labelled:
        with Image.open(result.mask_path(row)) as mask:
            assert mask.size[::-1] == image_size(odd / row.image), row.image
    sizes = {row.image: (row.height, row.width) for row in result.labelled}
    assert sizes["turned.jpg"] == sizes["cmyk.jpg"][::-1]
    assert sizes["wide.png"] == (20, 30_000)
    assert sizes["dot.png"] == (1, 1)
    masks = masks_of(tmp_path / "run")
    assert len(masks) == len(list(odd.iterdir()))


def test_bad_images_are_listed_with_their_reasons(few, settings, tmp_path):
    shutil.copytree(few, tmp_path / "images")
    add_bad(tmp_path / "images", few / "chelsea.jpg")
    for cache in (True, False):
        result = label(tmp_path / "images", out=tmp_path / str(cache), cache=cache, **settings)
        assert {row.image: row.error for row in result.skipped} == BAD
        assert {(row.status, row.mask, row.classes, row.coverage) for row in result.skipped} == {
            ("skipped", "", (), 0.0)
        }
        assert len(result.labelled) == 4
        assert result.run["counts"] == {"images": 8, "labelled": 4, "skipped": 4}
        assert {
            row.image: row.error for row in read_samples(tmp_path / str(cache) / "samples.csv") if row.error
        } == BAD
    assert masks_of(tmp_path / "True") == masks_of(tmp_path / "False")


def test_missing_images_of_a_list(few, settings, tmp_path):
    images = [few / "astronaut.jpg", few / "gone.jpg", few / "chelsea.jpg"]
    result = label(images, out=tmp_path / "run", **settings)
    assert [(row.image, row.error) for row in result.skipped] == [("gone.jpg", "no such file")]


@pytest.mark.parametrize("cache", [True, False])
def test_no_readable_image_is_an_error_with_reasons(few, settings, tmp_path, cache):
    (tmp_path / "images").mkdir()
    add_bad(tmp_path / "images", few / "chelsea.jpg")
    with pytest.raises(PseudoMaskError, match="none of the 4 images could be read") as caught:
        label(tmp_path / "images", out=tmp_path / "run", cache=cache, **settings)
    assert "broken/empty.jpg: empty file" in str(caught.value)
    # nothing is left in the way: with good images the same folder can be restarted
    assert len(label(few, out=tmp_path / "run", overwrite=True, **settings).labelled) == 4


def test_file_names_that_are_not_utf8(few, settings, tmp_path):
    folder = os.fsencode(tmp_path / "images")
    os.mkdir(folder)
    try:
        shutil.copy(os.fsencode(few / "astronaut.jpg"), folder + b"/caf\xe9.jpg")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    result = label(tmp_path / "images", out=tmp_path / "run", **settings)
    assert result.skipped == []
    assert [row.image for row in read_samples(tmp_path / "run" / "samples.csv")] == [
        os.fsdecode(b"caf\xe9.jpg")
    ]


def test_without_the_cache_masks_are_the_same(finished, few, settings, tmp_path):
    result = label(few, out=tmp_path / "run", cache=False, **settings)
    assert masks_of(result.out) == masks_of(finished.out)
    assert "features" not in result.run["seconds"]


def test_a_cache_that_holds_nothing_changes_nothing(finished, few, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "cache"))
    result = label(few, out=tmp_path / "run", cache_limit=1000, **settings)
    assert masks_of(result.out) == masks_of(finished.out)


@pytest.mark.parametrize("changed", [{"batch_size": 1}, {"batch_size": 3}, {"jobs": 2}])
def test_batches_and_processes_change_nothing(finished, few, settings, tmp_path, monkeypatch, changed):
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "cache"))
    result = label(few, out=tmp_path / "run", **{**settings, **changed})
    assert masks_of(result.out) == masks_of(finished.out)


def test_a_second_run_reads_features_from_the_cache(few, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "cache"))
    from fiftyone_plugin.features.backbones import Backbone

    calls = []
    real = Backbone.extract_tensors
    monkeypatch.setattr(
        Backbone,
        "extract_tensors",
        lambda self, images, layers: calls.append(tuple(layers)) or real(self, images, layers),
    )
    label(few, out=tmp_path / "a", cache=True, **settings)
    assert any(layers != ("cls",) for layers in calls)
    calls.clear()
    label(few, out=tmp_path / "b", cache=True, **{**settings, "classes": 2})
    assert calls == []  # crops of regions are known too


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"method": "magic"}, "unknown method 'magic'; did you mean 'mosaic'"),
        ({"classes": 0}, "classes must"), ({"classes": 70_000}, "classes must"), ({"jobs": -1}, "jobs must"),
        ({"classes": "lots"}, "classes must"), ({"classes": 2.5}, "classes must"), ({"size": 5}, "size must"),
        ({"size": 10_000}, "size must"), ({"batch_size": 0}, "batch_size must"),
        ({"seed": -1}, "seed"), ({"seed": 2**40}, "seed"), ({"precision": "int4"}, "precision"),
        ({"cache_limit": -1}, "cache_limit must"), ({"refine": "blur"}, "unknown refinement"),
        ({"device": "nowhere"}, "'nowhere' is not available"), ({"colour": "red"}, "unknown setting.*colour"),
        ({"backbone": "vit_nothing"}, "unknown backbone"),
        ({"backbone": "/no/weights.pth"}, "no weights file"),
        ({"options": {"layer": "k99"}}, "has blocks 1 to 11"), ({"options": {"layer": "x"}}, "unknown layer"),
        ({"options": {"n_init": 0}}, "n_init must be"), ({"options": {"nothing": 1}}, "nothing"),
        ({"options": {"name": "x"}}, "name"), ({"options": {"self": "x"}}, "self"),
        ({"options": {"random_state": 1}}, "random_state cannot be an option"),
        ({"options": {"n_classes": 1, "refine": "none"}}, "n_classes, refine cannot be an option"),
        ({"options": {"n_jobs": 1}}, "n_jobs cannot be an option"),
    ],
    ids=str,
)  # fmt: skip
def test_impossible_settings_are_refused_before_anything_is_written(few, settings, tmp_path, wrong, match):
    with pytest.raises(UsageError, match=match):
        label(few, out=tmp_path / "run", **{**settings, **wrong})
    assert not (tmp_path / "run").exists()


def test_refinement_by_default_and_without(few, settings, tmp_path, finished):
    assert finished.run["settings"]["refine"] == "crf"
    plain = label(few, out=tmp_path / "run", refine="none", **settings)
    assert plain.run["settings"]["refine"] == "none"
    assert plain.run["settings"]["method_config"]["refine"] == "none"


def test_without_a_folder_a_new_one_is_made(few, settings):
    result = label([few / "astronaut.jpg"], **settings)
    try:
        assert (result.out / "masks" / "astronaut.png").is_file()
    finally:
        shutil.rmtree(result.out)


def test_numbers_of_numpy_are_as_good_as_pythons(few, settings, tmp_path):
    numbers = {"classes": np.int64(2), "seed": np.int32(1), "size": np.int64(96), "batch_size": np.int8(2)}
    options = {"max_regions": np.int16(2), "temperature": np.float32(0.2)}
    result = label(few, out=tmp_path / "run", **{**settings, **numbers, "options": options})
    config = json.loads((result.out / "run.json").read_text())["settings"]["method_config"]
    assert (config["n_classes"], config["random_state"], config["max_regions"]) == (2, 1, 2)


def test_progress_counts_every_image_once(few, settings, tmp_path):
    calls = []
    progress = CallbackProgress(lambda *args: calls.append(args), interval=60)
    label(few, out=tmp_path / "run", progress=progress, **settings)
    last = {stage: (done, total) for stage, done, total in calls}
    assert tuple(last) == STAGES
    assert all(done == total for done, total in last.values()), last


def test_reasons_travel_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(ImageReadError("a.jpg", "truncated file")))
    assert (error.path, error.reason) == ("a.jpg", "truncated file")


def test_offline_backbone_finds_what_the_photos_show(backbone, photos, tmp_path):
    """At 224 px in float32, as the tables are, against boxes drawn by hand: astronaut, cat's face, cup."""
    images = [photos / f"{name}.jpg" for name in ("astronaut", "chelsea", "coffee", "rocket")]
    result = label(
        images,
        out=tmp_path / "run",
        method="lightcluster",
        backbone=OFFLINE_BACKBONE,
        precision="float32",
        size=224,
        classes=4,
    )
    boxes = {"astronaut": (0, 60, 512, 480), "chelsea": (0, 30, 300, 420), "coffee": (40, 70, 380, 520)}
    for row in result.labelled:
        mask = np.asarray(Image.open(result.mask_path(row)))
        assert 0 < row.coverage < 0.95
        if (box := boxes.get(Path(row.image).stem)) is not None:
            y0, x0, y1, x1 = box
            assert (mask[y0:y1, x0:x1] > 0).sum() > 0.8 * (mask > 0).sum()
            assert (mask[y0:y1, x0:x1] > 0).mean() > 0.1
    assert result.run["settings"]["backbone"]["origin"] == "offline"
