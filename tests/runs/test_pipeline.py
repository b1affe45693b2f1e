"""Runs from image files to masks, with a small random network: what is written, resumed, refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.errors import ImageReadError, PseudoMaskError, UsageError
from fiftyone_plugin.features.backbones import OFFLINE_BACKBONE
from fiftyone_plugin.images.reading import image_size, read_image
from fiftyone_plugin.masks.refine import crf_available
from fiftyone_plugin.runs.api import label
from fiftyone_plugin.runs.samples import read_samples

STAGES = (
    "load backbone", "features", "sample", "levels", "foreground, regions", "classes", "masks",
    "contact sheet", "exemplars",
)  # fmt: skip


@pytest.fixture(scope="module")
def few(photos, tmp_path_factory) -> Path:
    """Four photographs in two folders, half their size."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("astronaut.jpg", "chelsea.jpg", "sub/coffee.jpg", "sub/rocket.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        with Image.open(photos / Path(name).name) as image:
            image.reduce(2).save(folder / name, quality=90)
    return folder


@pytest.fixture(scope="module")
def odd(few, tmp_path_factory) -> Path:
    """Readable images of every strange kind."""
    folder = tmp_path_factory.mktemp("odd")
    photo = Image.open(few / "chelsea.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.convert("L").save(folder / "grey.png")
    photo.convert("P").save(folder / "palette.png", transparency=3)
    photo.convert("RGBA").save(folder / "alpha.webp")
    deep = np.asarray(photo.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    frames = [photo.rotate(angle) for angle in (0, 90)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    Image.new("RGB", (1, 1), "red").save(folder / "dot.png")
    Image.effect_noise((30_000, 20), 80).convert("RGB").save(folder / "wide.png")
    photo.save(folder / "two words & ünïcode.jpg")
    shutil.copy(few / "chelsea.jpg", folder / "twice.jpg")
    return folder


BAD = {
    "broken/empty.jpg": "empty file",
    "broken/truncated.jpg": "truncated file",
    "broken/header.jpg": "damaged or truncated image header",
    "broken/text.png": "not an image in a known format",
}


def add_bad(folder: Path, photo: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "empty.jpg").touch()
    content = photo.read_bytes()
    (folder / "broken" / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (folder / "broken" / "header.jpg").write_bytes(content[:20])
    (folder / "broken" / "text.png").write_text("hello")


@pytest.fixture(scope="module")
def settings(tiny_weights) -> dict:
    return {
        "backbone": tiny_weights, "size": 96, "classes": 3, "jobs": 1,
        "device": "cpu", "precision": "float32",
        "method": "lightcluster", "options": {"max_regions": 3},
    }  # fmt: skip


def masks_of(out: Path) -> dict[str, bytes]:
    folder = out / "masks"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


@pytest.fixture(scope="module")
def finished(few, settings, tmp_path_factory):
    """An uninterrupted run over the four photographs."""
    return label(few, out=tmp_path_factory.mktemp("finished") / "run", **settings)


# --- what is written ------------------------------------------------------------------------------


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
            ("skipped", "", "", 0.0)
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


# --- the same again -------------------------------------------------------------------------------


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
    real = Backbone.extract
    monkeypatch.setattr(
        Backbone,
        "extract",
        lambda self, images, layers: calls.append(tuple(layers)) or real(self, images, layers),
    )
    label(few, out=tmp_path / "a", **settings)
    assert any(layers != ("cls",) for layers in calls)
    calls.clear()
    label(few, out=tmp_path / "b", **{**settings, "classes": 2})
    assert calls == []  # crops of regions are known too


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
        label(few, out=tmp_path / "run", model=tmp_path / "run" / "model", overwrite=True)
    assert masks_of(tmp_path / "run") == before
    assert (tmp_path / "run" / "model" / "arrays.safetensors").is_file()


# --- interrupted ----------------------------------------------------------------------------------


def interrupt(stage_name: str, after: int):
    """A callback that stops the run as Ctrl-C does, in a stage after some units."""

    def callback(stage, done, total):
        if stage == stage_name and done >= after:
            raise KeyboardInterrupt

    return CallbackProgress(callback, interval=0)


@pytest.mark.parametrize(
    ("stage", "after"),
    [("features", 0), ("features", 3), ("sample", 2), ("levels", 1), ("foreground, regions", 2),
     ("classes", 1), ("masks", 0), ("masks", 2), ("contact sheet", 0)],
)  # fmt: skip
def test_resumed_it_writes_the_same_bytes(finished, few, settings, tmp_path, monkeypatch, stage, after):
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "cache"))
    shutil.copytree(few, tmp_path / "images")
    add_bad(tmp_path / "images", few / "chelsea.jpg")
    options = {**settings, "batch_size": 3}
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path / "images", out=tmp_path / "run", progress=interrupt(stage, after), **options)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "running"
    with pytest.raises(UsageError, match="--resume"):
        label(tmp_path / "images", out=tmp_path / "run", **options)
    result = label(tmp_path / "images", out=tmp_path / "run", resume=True, **options)
    assert masks_of(result.out) == masks_of(finished.out)
    assert {row.image: row.error for row in result.skipped} == BAD
    assert not (tmp_path / "run" / ".work").exists()
    assert read_samples(result.out / "samples.csv")[0].seconds > 0


def test_finished_masks_are_not_made_again(few, settings, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        label(few, out=tmp_path / "run", progress=interrupt("masks", 2), **settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "masks").rglob("*.png")}
    assert len(before) == 2
    seen = []
    progress = CallbackProgress(lambda *args: seen.append(args), interval=60)
    label(few, out=tmp_path / "run", resume=True, progress=progress, **settings)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert ("masks", 0, 2) in seen
    assert not {"sample", "levels"} & {stage for stage, _, _ in seen}


def table_of(out: Path) -> list[dict[str, object]]:
    """The table, without the time that it took."""
    return [{**vars(row), "seconds": 0} for row in read_samples(out / "samples.csv")]


@pytest.mark.parametrize("method", ["mosaic", "datus", "alignseg", "lightcluster"])
def test_tables_are_the_same_however_the_model_came(few, settings, tmp_path, method):
    """Fitted in this run, before it was interrupted, or by another run; to the last digit of the quality."""
    options = {"steps": 3, "batch_size": 2} if method == "alignseg" else {}
    shared = {**settings, "method": method, "options": options, "refine": "none"}
    first = label(few, out=tmp_path / "first", **shared)
    with pytest.raises(KeyboardInterrupt):
        label(few, out=tmp_path / "stopped", progress=interrupt("masks", 1), **shared)
    label(few, out=tmp_path / "stopped", resume=True, **shared)
    label(few, out=tmp_path / "model", model=first.out / "model", jobs=1, device="cpu")
    for name in ("stopped", "model"):
        assert table_of(tmp_path / name) == table_of(first.out)
        assert masks_of(tmp_path / name) == masks_of(first.out)


def test_changed_images_are_labelled_anew_and_gone_ones_listed(few, settings, tmp_path):
    """While the run was stopped: one whose mask is there, and one whose mask is not, of either kind."""
    images = tmp_path / "images"
    shutil.copytree(few, images)
    for number in range(2):
        shutil.copy(few / "chelsea.jpg", images / f"x{number}.jpg")
    with pytest.raises(KeyboardInterrupt):
        label(images, out=tmp_path / "run", progress=interrupt("masks", 3), **settings)
    done = {path.stem for path in (tmp_path / "run" / "masks").rglob("*.png")}
    assert done == {"astronaut", "chelsea", "coffee"}
    identity = json.loads((tmp_path / "run" / "run.json").read_text())["run_id"]
    Image.new("RGB", (50, 30), "red").save(images / "astronaut.jpg")
    Image.new("RGB", (30, 70), "blue").save(images / "x0.jpg")
    (images / "chelsea.jpg").unlink()
    (images / "x1.jpg").unlink()
    result = label(images, out=tmp_path / "run", resume=True, **settings)
    assert {(row.image, row.error) for row in result.skipped} == {
        ("chelsea.jpg", "no such file"),
        ("x1.jpg", "no such file"),
    }
    assert sorted(masks_of(result.out)) == ["astronaut.png", "sub/coffee.png", "sub/rocket.png", "x0.png"]
    for name, size in (("astronaut", (50, 30)), ("x0", (30, 70))):
        with Image.open(result.out / "masks" / f"{name}.png") as mask:
            assert mask.size == size
    assert result.run["run_id"] == identity
    assert not (result.out / ".work").exists()
    for row in result.labelled:
        info = (images / row.image).stat()
        assert row.stamp == f"{info.st_size}:{info.st_mtime_ns}"


def test_new_images_are_not_taken_into_a_run_that_goes_on(few, settings, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(few, images)
    with pytest.raises(KeyboardInterrupt):
        label(images, out=tmp_path / "run", progress=interrupt("masks", 1), **settings)
    shutil.copy(few / "chelsea.jpg", images / "new.jpg")
    with pytest.raises(UsageError, match=r"images was 4, now 5: 1 new \(new\.jpg\)\. Use the same images"):
        label(images, out=tmp_path / "run", resume=True, **settings)
    (images / "new.jpg").unlink()
    images.rename(tmp_path / "moved")  # the whole folder may move
    assert len(label(tmp_path / "moved", out=tmp_path / "run", resume=True, **settings).labelled) == 4


def test_a_finished_run_is_of_its_own_images(few, settings, tmp_path):
    monday, tuesday = tmp_path / "monday", tmp_path / "tuesday"
    for folder, seed in ((monday, 0), (tuesday, 9)):
        folder.mkdir()
        for number in range(3):
            noise = np.random.default_rng(seed + number).integers(0, 255, (40, 60, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{number}.png")
    result = label(monday, out=tmp_path / "run", **settings)
    before = {path: path.read_bytes() for path in result.out.rglob("*") if path.is_file()}
    again = label(monday, out=tmp_path / "run", resume=True, **settings)
    assert again.run == result.run
    with pytest.raises(UsageError, match=r"its images are others now: 3 changed \(0\.png, 1\.png, 2\.png\)"):
        label(tuesday, out=tmp_path / "run", resume=True, **settings)
    with pytest.raises(UsageError, match="classes was 3, now 2"):
        label(monday, out=tmp_path / "run", resume=True, **{**settings, "classes": 2})
    assert {path: path.read_bytes() for path in result.out.rglob("*") if path.is_file()} == before


def test_unfinished_runs_of_earlier_versions_go_on(finished, few, settings, tmp_path):
    """They recorded neither the list of images nor when those were changed."""
    with pytest.raises(KeyboardInterrupt):
        label(few, out=tmp_path / "run", progress=interrupt("masks", 2), **settings)
    record = tmp_path / "run" / "run.json"
    document = json.loads(record.read_text())
    del document["run_id"], document["settings"]["images_sha256"]
    record.write_text(json.dumps(document))
    (tmp_path / "run" / ".work" / "images.json").unlink()
    journal = tmp_path / "run" / ".work" / "journal.jsonl"
    rows = [json.loads(line) for line in journal.read_text().split("\n") if line]
    journal.write_text(
        "".join(f"\n{json.dumps({k: v for k, v in row.items() if k != 'stamp'})}" for row in rows)
    )
    with pytest.raises(UsageError, match="images was 4, now 1"):
        label([few / "astronaut.jpg"], out=tmp_path / "run", resume=True, **settings)
    result = label(few, out=tmp_path / "run", resume=True, **settings)
    assert masks_of(result.out) == masks_of(finished.out)
    assert len(result.run["run_id"]) == 32


def test_an_image_that_changes_between_features_and_mask(few, settings, tmp_path):
    shutil.copytree(few, tmp_path / "images")
    path = tmp_path / "images" / "chelsea.jpg"
    progress = at("masks", lambda: Image.new("RGB", (50, 30), "red").save(path))
    result = label(tmp_path / "images", out=tmp_path / "run", progress=progress, **settings)
    assert result.skipped == []
    with Image.open(result.out / "masks" / "chelsea.png") as mask:
        assert mask.size == (50, 30)


def test_a_finished_run_outlives_a_new_one_that_fails(finished, few, settings, tmp_path):
    shutil.copytree(finished.out, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    others = {**settings, "classes": 2}

    def unchanged() -> bool:
        return {path: path.read_bytes() for path in before} == before

    for wrong in ({"backbone": str(tmp_path / "absent.pth")}, {"options": {"layer": "k99"}}, {"classes": 0}):
        with pytest.raises(PseudoMaskError):
            label(few, out=tmp_path / "run", overwrite=True, **{**settings, **wrong})
        assert unchanged()
        assert not (tmp_path / "run" / ".work").exists()
    with pytest.raises(KeyboardInterrupt):
        label(few, out=tmp_path / "run", overwrite=True, progress=interrupt("masks", 2), **others)
    assert unchanged()
    with pytest.raises(UsageError, match="n_classes was 2, now 3"):
        label(few, out=tmp_path / "run", resume=True, **settings)
    result = label(few, out=tmp_path / "run", resume=True, **others)
    assert result.out == tmp_path / "run"
    assert len(result.class_names) == 2
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == result.run
    assert not (tmp_path / "run" / ".work").exists()
    assert all(result.mask_path(row).is_file() for row in result.labelled)


def test_the_folder_of_the_images_is_no_place_for_a_run(few, settings, tmp_path):
    shutil.copytree(few, tmp_path / "images")
    os.symlink(tmp_path / "images", tmp_path / "link")
    before = sorted(path.name for path in (tmp_path / "images").rglob("*"))
    for out in (tmp_path / "images", tmp_path / "link", tmp_path / "images" / "sub"):
        with pytest.raises(UsageError, match="is the folder of the images"):
            label(tmp_path / "images", out=out, **settings)
    assert sorted(path.name for path in (tmp_path / "images").rglob("*")) == before


def test_long_names_end_neither_a_run_nor_more_than_themselves(few, settings, tmp_path):
    name = "n" * 251 + ".jpg"
    (tmp_path / "images").mkdir()
    for target in (name, "n" * 250 + ".jpg", "b.jpg"):
        shutil.copy(few / "chelsea.jpg", tmp_path / "images" / target)
    (tmp_path / "images" / "IMG_1.CR2").touch()
    result = label(tmp_path / "images", out=tmp_path / "run", **settings)
    assert len(masks_of(result.out)) == len(result.labelled) == 3
    assert result.run["left_out"] == {"extensions": {".cr2": 1}, "examples": ["IMG_1.CR2"], "folders": []}
    for out in (tmp_path / ("o" * 256), tmp_path / ("o" * 256) / "run"):
        with pytest.raises(UsageError, match=r"cannot write to .*File name too long"):
            label(few, out=out, **settings)


@pytest.mark.skipif(os.name == "nt", reason="names that Windows has not")
def test_resuming_with_names_that_are_none_elsewhere(few, settings, tmp_path):
    names = ["8:30.jpg", "C:x.jpg", "a\\b.jpg", "two\nlines.jpg", os.fsdecode(b"caf\xe9.jpg")]
    (tmp_path / "images").mkdir()
    for name in names:
        shutil.copy(few / "chelsea.jpg", tmp_path / "images" / name)
    with pytest.raises(KeyboardInterrupt):
        label(tmp_path / "images", out=tmp_path / "run", progress=interrupt("masks", 2), **settings)
    result = label(tmp_path / "images", out=tmp_path / "run", resume=True, **settings)
    assert sorted(row.image for row in result.labelled) == sorted(names)


def test_resuming_a_finished_run_changes_nothing(few, settings, tmp_path):
    first = label(few, out=tmp_path / "run", **settings)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "masks").rglob("*.png")}
    again = label(few, out=tmp_path / "run", resume=True, **settings)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert again.class_names == first.class_names
    assert [row.class_ids for row in again.samples] == [row.class_ids for row in first.samples]


def test_resuming_with_other_images_or_settings_names_the_difference(few, settings, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        label(few, out=tmp_path / "run", progress=interrupt("masks", 1), **settings)
    for images, changed, match in (
        (few, {"classes": 4}, r"method_config.n_classes was 3, now 4"),
        (few, {"size": 112}, r"size was 96, now 112"),
        (few, {"seed": 1}, r"seed was 0, now 1"),
        ([few / "astronaut.jpg"], {}, r"images was 4, now 1"),
    ):
        with pytest.raises(UsageError, match=match):
            label(images, out=tmp_path / "run", resume=True, **{**settings, **changed})
    label(few, out=tmp_path / "run", resume=True, **{**settings, "jobs": 1, "batch_size": 2, "cache": False})


def test_a_run_does_not_replace_the_images_that_it_reads(few, settings, tmp_path):
    run = label(few, out=tmp_path / "run", **settings).out
    before = masks_of(run)
    for images in (run / "masks", sorted((run / "masks").glob("*.png")), run / "exemplars"):
        with pytest.raises(UsageError, match="among what a run writes"):
            label(images, out=run, overwrite=True, **settings)
    assert masks_of(run) == before


def test_restart_gives_the_same_and_leaves_foreign_files(finished, few, settings, tmp_path):
    label(few, out=tmp_path / "run", **{**settings, "classes": 2})
    (tmp_path / "run" / "masks" / "mine.png").write_text("precious")
    result = label(few, out=tmp_path / "run", overwrite=True, **settings)
    assert (tmp_path / "run" / "masks" / "mine.png").read_text() == "precious"
    assert {k: v for k, v in masks_of(result.out).items() if k != "mine.png"} == masks_of(finished.out)


def at(stage_name: str, action):
    """Do something when a stage begins."""

    def callback(stage, done, total):
        if stage == stage_name and done == 0:
            action()

    return CallbackProgress(callback, interval=60)


@pytest.mark.parametrize(
    ("stage", "lost"), [("foreground, regions", True), ("masks", False), ("contact sheet", False)]
)
def test_an_image_that_vanishes_meanwhile(few, settings, tmp_path, stage, lost):
    """Once its regions are known no pixel is needed any more; before that it is skipped and listed."""
    shutil.copytree(few, tmp_path / "images")
    progress = at(stage, (tmp_path / "images" / "chelsea.jpg").unlink)
    result = label(tmp_path / "images", out=tmp_path / "run", progress=progress, **settings)
    assert [(row.image, row.error) for row in result.skipped] == (
        [("chelsea.jpg", "no such file")] if lost else []
    )
    assert (tmp_path / "run" / "contact_sheet.png").is_file()


def test_a_disk_that_refuses_can_be_mended(finished, few, settings, tmp_path):
    obstacle = tmp_path / "run" / "masks" / "chelsea.png"
    progress = at("masks", lambda: obstacle.mkdir(parents=True))
    with pytest.raises(PseudoMaskError, match=r"stopped: .*chelsea\.png.*--resume"):
        label(few, out=tmp_path / "run", progress=progress, **settings)
    obstacle.rmdir()
    result = label(few, out=tmp_path / "run", resume=True, **settings)
    assert masks_of(result.out) == masks_of(finished.out)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"method": "magic"}, "unknown method 'magic'; did you mean 'mosaic'"),
        ({"classes": 0}, "classes must"), ({"classes": 70_000}, "classes must"), ({"jobs": -1}, "jobs must"),
        ({"classes": "many"}, "classes must"), ({"classes": 2.5}, "classes must"), ({"size": 5}, "size must"),
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


def test_refinement_follows_what_is_installed(few, settings, tmp_path, finished):
    expected = "crf" if crf_available() else "none"
    assert finished.run["settings"]["refine"] == expected
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


# --- the real backbone ----------------------------------------------------------------------------


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
