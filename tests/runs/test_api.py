"""What label() takes: paths, PIL images and arrays; settings that are checked; what a result tells."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import LabelConfig, LabelResult, UsageError, compare, evaluate, label, undo
from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.images.reading import read_image
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.given import FOLDER


@pytest.fixture(scope="module")
def arrays(photos) -> list[np.ndarray]:
    return [read_image(photos / f"{name}.jpg")[::3, ::3] for name in ("chelsea", "coffee", "rocket")]


def written(out: Path) -> list[str]:
    return sorted(path.relative_to(out / FOLDER).name for path in (out / FOLDER).rglob("*.png"))


def test_arrays_and_pil_images_are_labelled_as_the_files_that_are_written(arrays, fast, tmp_path):
    turned = Image.fromarray(arrays[1])
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    opened = Image.open(tmp_path / "turned.jpg")
    result = label([arrays[0], opened], out=tmp_path / "run", **fast)
    assert [row.image for row in result.samples] == ["image-0001.png", "image-0002.png"]
    assert result.mask("image-0002.png").shape == opened.size  # turned: (W, H) before is (H, W) now
    stored = sorted((tmp_path / "run" / FOLDER).rglob("*.png"))
    assert np.array_equal(read_image(stored[0]), arrays[0])
    assert np.array_equal(read_image(stored[1]), read_image(tmp_path / "turned.jpg"))
    files = label(stored, out=tmp_path / "files", **fast)
    assert all(np.array_equal(result.mask(row), files.mask(row.image)) for row in result.samples)


def test_one_image_by_itself(arrays, fast, tmp_path):
    for number, image in enumerate((arrays[0], Image.fromarray(arrays[0]))):
        result = label(image, out=tmp_path / str(number), **fast)
        assert result.mask("image-0001.png").shape == arrays[0].shape[:2]


def test_sequences_may_be_mixed(photos, arrays, fast, tmp_path):
    result = label(
        [photos / "chelsea.jpg", arrays[1], str(photos / "coffee.jpg")], out=tmp_path / "run", **fast
    )
    assert len(result.labelled) == 3
    assert written(tmp_path / "run") == ["image-0002.png"]
    assert result.mask("image-0002.png").shape == arrays[1].shape[:2]
    assert result.mask("chelsea.jpg").shape == read_image(photos / "chelsea.jpg").shape[:2]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (3, "something of type int; give a folder"),
        (None, "something of type NoneType"),
        ({"a": 1}, "something of type dict"),
        ([b"x", 3], "image 1 of the sequence is something of type bytes"),
        (np.zeros((4, 5), np.uint8), r"for grey: np.stack"),
        (np.zeros((2, 4, 5, 3), np.uint8), r"list\(array\)"),
        (np.zeros((3, 4, 5), np.uint8), r"array.transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 3)), r"\(array \* 255\)"),
        ([np.zeros((4, 5, 3), np.uint8), np.zeros((4, 0, 3), np.uint8)], "image 2 is an array of shape"),
        ([], "no images in"),
    ],
)
def test_what_is_no_image_is_answered_in_words(images, message, tmp_path):
    with pytest.raises(UsageError, match=message):
        label(images, out=tmp_path / "run", method="lightcluster")
    assert os.listdir(tmp_path) == []


def test_an_image_that_cannot_be_decoded(photos, tmp_path):
    (tmp_path / "cut.jpg").write_bytes((photos / "coffee.jpg").read_bytes()[:5000])
    with pytest.raises(Exception, match="image 1 cannot be decoded"):
        label(Image.open(tmp_path / "cut.jpg"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_given_images_belong_to_their_run(photos, arrays, fast, tmp_path):
    out = tmp_path / "run"
    first = label(arrays[:2], out=out, **fast)
    masks = [first.mask(row) for row in first.samples]
    with pytest.raises(UsageError, match="a finished run; use --overwrite"):
        label(arrays[2], out=out, **fast)
    assert len(list((out / FOLDER).iterdir())) == 1
    again = label(arrays[:2], out=out, resume=True, **fast)
    assert again.run == json.loads((out / "run.json").read_text())
    assert [np.array_equal(again.mask(row), mask) for row, mask in zip(again.samples, masks, strict=True)]
    with pytest.raises(ZeroDivisionError):
        label(arrays[2], out=out, overwrite=True, progress=CallbackProgress(stop_at("masks")), **fast)
    assert len(list((out / FOLDER).iterdir())) == 2  # the old run is still whole, the new one can go on
    assert len(label(arrays[2], out=out, resume=True, **fast).labelled) == 1
    assert written(out) == ["image-0001.png"]
    (out / FOLDER / "mine.txt").write_text("a person's")
    label(photos / "coffee.jpg", out=out, overwrite=True, **fast)
    assert os.listdir(out / FOLDER) == ["mine.txt"]


def stop_at(stage: str):
    def report(name, *_):
        if name == stage:
            raise ZeroDivisionError

    return report


def test_what_removes_a_run_removes_its_given_images(arrays, fast, tmp_path):
    out = tmp_path / "run"
    label(arrays, out=out, **fast)
    directory = RunDirectory(out)
    directory.remove_outputs()
    directory.remove_if_empty()
    assert not out.exists()


def test_given_images_are_not_written_through_links(arrays, fast, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run" / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is a link"):
        label(arrays, out=tmp_path / "run", **fast)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_given_images_are_no_images_of_their_runs_folder(photos, arrays, fast, tmp_path):
    label(arrays[0], out=tmp_path, **fast)
    (tmp_path / "mine.jpg").write_bytes((photos / "coffee.jpg").read_bytes())
    assert [row.image for row in label(tmp_path, out=tmp_path / "new", **fast).samples] == ["mine.jpg"]


def test_restart_is_overwrite_for_one_release(arrays, fast, tmp_path):
    label(arrays[0], out=tmp_path / "run", **fast)
    with pytest.warns(DeprecationWarning, match="restart is called overwrite now"):
        label(arrays[1], out=tmp_path / "run", restart=True, **fast)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size must be a whole number, 14..4096, got 0"),
        ({"seed": -1}, "seed must be"),
        ({"classes": 0}, "classes must be"),
        ({"classes": "all"}, "'auto' to find it, got 'all'"),
        ({"jobs": -1}, "jobs must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"sise": 3}, "unknown setting 'sise'; did you mean 'size'"),
        ({"n_classes": 3}, "it is called 'classes'"),
        ({"random_state": 3}, "it is called 'seed'"),
        ({"method": "mosiac"}, "unknown method 'mosiac'; did you mean 'mosaic'"),
        ({"method": None}, "unknown method None; known:"),
        ({"preset": "fsat"}, "did you mean 'fast'"),
        ({"refine": "crff"}, "unknown refinement 'crff'; did you mean 'crf'"),
        ({"precision": "float16"}, "unknown precision 'float16'; did you mean 'bfloat16'"),
        ({"device": "the gpu"}, "device is auto, cpu"),
        ({"backbone": "offline-vits41"}, "did you mean 'offline-vits14'"),
        ({"options": ["spread"]}, "a dict of the method's options"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_settings_are_checked_when_they_are_given(settings, message):
    with pytest.raises(UsageError, match=message):
        LabelConfig(**settings)


def test_settings_are_frozen_and_copied_with_changes():
    config = LabelConfig(backbone=Path("weights.pth"), size=np.int64(98))
    assert (config.backbone, type(config.size)) == ("weights.pth", int)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.size = 3
    assert dataclasses.replace(config, seed=3).seed == 3
    with pytest.raises(UsageError, match="size must be"):
        dataclasses.replace(config, size=3)


# --- results --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def result(photos, tiny_weights, tmp_path_factory) -> LabelResult:
    folder = tmp_path_factory.mktemp("images")
    for name in ("a/chelsea.jpg", "b/chelsea.jpg", "coffee.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((photos / Path(name).name).read_bytes())
    (folder / "broken.jpg").write_bytes(b"x")
    settings = {"method": "lightcluster", "size": 96, "classes": 3, "refine": "none", "jobs": 1}
    return label(folder, out=folder / "labels", backbone=tiny_weights, **settings)


def test_a_result_says_in_a_line_what_it_is(result):
    n = len(result.class_names)
    assert repr(result) == f"LabelResult({str(result.out)!r}: 3 labelled, 1 skipped, {n} classes)"


def test_masks_by_key(result):
    mask = result.mask("coffee.jpg")
    assert (mask.ndim, mask.dtype) == (2, np.uint8)
    assert np.array_equal(mask, np.asarray(Image.open(result.out / "masks" / "coffee.png")))
    assert np.array_equal(result.mask("a/chelsea.jpg"), result.mask(result.samples[0]))
    for key, message in (
        ("chelsea.jpg", "several images are called 'chelsea.jpg': a/chelsea.jpg, b/chelsea.jpg"),
        ("cofee.jpg", "no image 'cofee.jpg' in this run; did you mean 'coffee.jpg'"),
        ("broken.jpg", "has no mask, it was skipped: "),
    ):
        with pytest.raises(UsageError, match=message):
            result.mask(key)


def test_a_table(result):
    table = result.to_pandas()
    assert list(table.index) == [row.image for row in result.samples]
    row = table.loc["coffee.jpg"]
    assert row.classes == [int(id_) for id_ in np.unique(result.mask("coffee.jpg")) if id_]
    assert len(row.classes) == len(row.shares) == len(row.qualities)
    assert table.status.tolist().count("skipped") == 1


# --- one verb a thing -----------------------------------------------------------------------------


def test_compare_and_evaluate_take_folders(result):
    assert compare(result.out, str(result.out)).agreement == 1
    scores = evaluate(result.out, result.out / "masks", unlabelled=None, replicates=0)
    assert scores.scores["miou"] == 1
    assert scores.n_images == 3


def test_what_is_neither_is_answered_in_words(result):
    with pytest.raises(UsageError, match="compare takes two folders"):
        compare(result.out)
    with pytest.raises(UsageError, match="two folders, or a FiftyOne dataset"):
        evaluate()
    with pytest.raises(UsageError, match="undo takes a FiftyOne dataset"):
        undo(str(result.out), "pseudomask_x")


def test_compare_takes_a_dataset(dataset, fill):
    fill("first")
    fill("second", 1)
    stored = compare(dataset, "first", "second")
    assert stored.key == "compare_first_vs_second"
    assert undo(dataset, stored.key).kept == ()
    assert not dataset.has_run(stored.key)
