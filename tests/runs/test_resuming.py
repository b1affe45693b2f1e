"""Runs that were interrupted, and runs in folders that hold one: gone on with, replaced, refused."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import label
from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.runs.samples import read_samples

from .run_helpers import BAD, add_bad, at, interrupt, masks_of, table_of


@pytest.mark.parametrize(
    ("stage", "after"),
    [("sample", 0), ("sample", 2), ("levels", 1), ("foreground, regions", 2),
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
    settings = {**settings, "batch_size": 1}  # of a larger one, some may be in hand
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
    settings = {**settings, "batch_size": 1}
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
            label(few, out=tmp_path / "run", restart=True, **{**settings, **wrong})
        assert unchanged()
        assert not (tmp_path / "run" / ".work").exists()
    with pytest.raises(KeyboardInterrupt):
        label(few, out=tmp_path / "run", restart=True, progress=interrupt("masks", 2), **others)
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
            label(images, out=run, restart=True, **settings)
    assert masks_of(run) == before


def test_restart_gives_the_same_and_leaves_foreign_files(finished, few, settings, tmp_path):
    label(few, out=tmp_path / "run", **{**settings, "classes": 2})
    (tmp_path / "run" / "masks" / "mine.png").write_text("precious")
    result = label(few, out=tmp_path / "run", restart=True, **settings)
    assert (tmp_path / "run" / "masks" / "mine.png").read_text() == "precious"
    assert {k: v for k, v in masks_of(result.out).items() if k != "mine.png"} == masks_of(finished.out)


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
