"""Runs of parts of the images: joined they are what one run would have been, or are refused."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import join, label
from fiftyone_plugin.cli.main import main
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.masks.files import read_mask, write_mask
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.record import RunDocument
from fiftyone_plugin.runs.samples import SampleRow

from .run_helpers import SETTINGS, add_bad, files, masks_of, opened, table_of


@pytest.fixture(scope="module")
def whole(few, settings, tmp_path_factory):
    """All images, three broken ones among them, labelled in one run; the folder, the run, the model."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(few, folder / "in")
    shutil.copy(few / "chelsea.jpg", folder / "in" / "astronaut.png")  # a mask of the same name
    add_bad(folder / "in", few / "chelsea.jpg")
    label(few, out=folder / "fit", **settings)
    model = folder / "fit" / "model"
    return folder / "in", label(folder / "in", out=folder / "one", model=model, **settings), model


@pytest.fixture(scope="module")
def parts(whole, settings, tmp_path_factory):
    images, _, model = whole
    folder = tmp_path_factory.mktemp("parts")
    for index in (1, 2):
        label(images, out=folder / f"{index}", model=model, shard=f"{index}/2", **settings)
    return [folder / "1", folder / "2"]


def sheet(out):
    with Image.open(out / "contact_sheet.png") as image:
        return np.asarray(image)[40:]  # without the title, which names the backbone of a run


@pytest.mark.slow
def test_joined_shards_are_the_run_over_all_images(whole, parts, tmp_path):
    _, one, _ = whole
    joined = join(parts[::-1], out=tmp_path / "out")
    assert masks_of(joined.out) == masks_of(one.out)
    assert table_of(joined.out) == table_of(one.out)
    assert files(joined.out) == files(one.out)
    for name in (
        "classes.json",
        *(p for p in files(one.out) if p.startswith(("exemplars/", "confidence/", "model/"))),
    ):
        assert (joined.out / name).read_bytes() == (one.out / name).read_bytes(), name
    assert np.array_equal(sheet(joined.out), sheet(one.out))
    ours, theirs = joined.run, one.run
    for name in ("counts", "classes", "left_out", "images_root", "versions", "status"):
        assert ours[name] == theirs[name], name
    assert ours["settings"] == theirs["settings"]
    assert ours["areas"] == pytest.approx(theirs["areas"], abs=1e-3)
    assert [run["shard"] for run in ours["work"]["joined"]] == ["2/2", "1/2"]
    assert ours["work"]["images"] == theirs["work"]["images"]
    assert joined.mask("astronaut.png").shape == read_mask(one.out / "masks" / "astronaut.png.png").shape
    assert len(joined.skipped) == len(one.skipped) == 4
    assert os.stat(joined.mask_path(joined.labelled[0])).st_nlink == 2


@pytest.mark.slow
def test_lists_with_one_root_are_joined_like_shards(whole, settings, tmp_path):
    images, one, model = whole
    runs = []
    for number, names in enumerate(
        (["astronaut.jpg", "sub/coffee.jpg"], ["astronaut.png", "sub/rocket.jpg"])
    ):
        listing = tmp_path / f"{number}.txt"
        listing.write_text("\n".join(str(images / name) for name in names))
        runs.append(tmp_path / f"run{number}")
        label(listing, out=runs[-1], model=model, root=images, **settings)
    joined = join(runs, out=tmp_path / "out")
    assert [row.image for row in joined.samples] == [
        "astronaut.jpg", "astronaut.png", "sub/coffee.jpg", "sub/rocket.jpg",
    ]  # fmt: skip
    assert {row.mask for row in joined.samples} == {
        "astronaut.jpg.png", "astronaut.png.png", "sub/coffee.png", "sub/rocket.png",
    }  # fmt: skip
    for row in joined.samples:
        assert np.array_equal(joined.mask(row), one.mask(row.image))


@pytest.mark.slow
def test_a_shard_needs_a_fitted_model(whole, settings, tmp_path, capsys):
    images, _, _ = whole
    with pytest.raises(UsageError, match="a shard is labelled with a fitted model"):
        label(images, out=tmp_path / "a", shard="1/2", **settings)
    assert main(["label", str(images), "--out", str(tmp_path / "b"), "--shard", "1/2"]) == 2
    assert "a shard is labelled with a fitted model" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_images_that_are_gone_cost_the_sheet_and_not_the_masks(whole, settings, tmp_path):
    images, one, model = whole
    shutil.copytree(images, tmp_path / "in")
    for index in (1, 2):
        label(tmp_path / "in", out=tmp_path / f"{index}", model=model, shard=f"{index}/2", **settings)
    shutil.rmtree(tmp_path / "in")
    joined = join([tmp_path / "1", tmp_path / "2"], out=tmp_path / "out")
    assert masks_of(joined.out) == masks_of(one.out)
    assert files(joined.out) == files(one.out)  # with strips of the parts


@pytest.mark.slow
def test_the_command_says_what_it_joined(parts, tmp_path, capsys):
    runs = list(map(str, parts))
    assert main(["join", *runs, "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["labelled"], document["skipped"]) == (5, 4)
    assert main(["join", *runs, "--out", str(tmp_path / "out"), "-q"]) == 2
    assert "holds a finished run" in capsys.readouterr().err
    assert main(["join", *runs, "--out", str(tmp_path / "out"), "--overwrite"]) == 0
    assert "2 runs joined: 5 images labelled, 4 skipped" in capsys.readouterr().out
    assert main(["join", runs[0], "--out", str(tmp_path / "half")]) == 2
    assert "shards are missing: 2/2" in capsys.readouterr().err
    assert main(["join", runs[0], "--out", str(tmp_path / "half"), "--partial", "-q"]) == 0


# --- what is refused, without a pipeline ------------------------------------------------------------


def made(root, rows=("a", "b"), *, model="x", settings=SETTINGS, shard=None, value=1, names=None):
    """A finished run of images of these names."""
    directory = opened(root, settings)
    done = []
    for name in rows:
        row = SampleRow(
            f"{name}.jpg", f"{name}.png", width=3, height=2, classes=(1,), shares=(1.0,), stamp="1:1"
        )
        directory.append([row])
        write_mask(directory.masks / row.mask, np.full((2, 3), value, np.uint8))
        done.append(row)
    directory.model.mkdir()
    for name in ("method.json", "arrays.safetensors", "pipeline.json"):
        (directory.model / name).write_text(model)
    directory.write_classes(names or {1: "class 1"})
    directory.write_samples(done)
    counts = {"images": len(rows), "labelled": len(rows), "skipped": 0}
    directory.write_run(RunDocument(settings, status="complete", counts=counts, shard=shard, run_id="1"))
    directory.finish()
    return root


def test_an_image_in_two_runs_counts_once_where_its_masks_are_the_same(tmp_path):
    runs = [made(tmp_path / "1", ("a", "b")), made(tmp_path / "2", ("b", "c"))]
    joined = join(runs, out=tmp_path / "out")
    assert [row.image for row in joined.samples] == ["a.jpg", "b.jpg", "c.jpg"]
    assert joined.run["counts"] == {"images": 3, "labelled": 3, "skipped": 0}
    other = made(tmp_path / "3", ("b",), value=2)
    with pytest.raises(UsageError, match=r"b\.jpg has other masks in .*1 and .*3"):
        join([runs[0], other], out=tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_a_mask_goes_before_a_reason_for_none(tmp_path):
    directory = RunDirectory(made(tmp_path / "1", ("a", "b")))
    rows = [SampleRow("a.jpg", status="skipped", error="gone")]
    directory.write_samples(rows)
    joined = join([directory.root, made(tmp_path / "2", ("a",))], out=tmp_path / "out")
    assert [row.status for row in joined.samples] == ["labelled"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "y"}, "were not labelled alike (fitted model differs)"),
        ({"settings": {**SETTINGS, "seed": 1}}, "were not labelled alike (seed differs)"),
        ({"names": {1: "sky"}}, "class 1 is 'sea' in one run, 'sky' in"),
        ({"rows": ("b", "a")}, "is not sorted by image"),
    ],
)
def test_runs_that_do_not_belong_together(tmp_path, change, words):
    runs = [made(tmp_path / "1", names={1: "sea"}), made(tmp_path / "2", **{"rows": ("c", "d"), **change})]
    with pytest.raises(UsageError) as caught:
        join(runs, out=tmp_path / "out")
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_name_that_somebody_gave_is_kept(tmp_path):
    runs = [made(tmp_path / "1"), made(tmp_path / "2", ("c",), names={1: "sky"})]
    assert join(runs, out=tmp_path / "out").class_names == {1: "sky"}


def test_what_is_no_finished_run_is_refused(tmp_path):
    run = made(tmp_path / "1")
    for wrong, words in (
        ([tmp_path / "none"], "holds no run"),
        ([run, run], "is named twice"),
        ([], "name the runs to join"),
    ):
        with pytest.raises(UsageError, match=words):
            join(wrong, out=tmp_path / "out")
    with pytest.raises(UsageError, match="is one of the runs to join"):
        join([run], out=run, overwrite=True)
    record = RunDocument.read(run / "run.json")
    replace(record, status="running").write(run / "run.json")
    with pytest.raises(UsageError, match="is not finished; finish it first"):
        join([run], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mask_that_is_gone_leaves_nothing_half_joined(tmp_path):
    runs = [made(tmp_path / "1"), made(tmp_path / "2", ("c", "d"))]
    earlier = join([runs[0]], out=tmp_path / "out")
    before = masks_of(earlier.out)
    (runs[1] / "masks" / "d.png").unlink()
    with pytest.raises(UsageError, match=r"d\.png is gone: label .*2 again with --resume"):
        join(runs, out=tmp_path / "out", overwrite=True)
    assert masks_of(earlier.out) == before
    assert RunDirectory(earlier.out).read_run().is_complete
    assert not (earlier.out / ".work").exists()


def test_a_disk_without_hard_links_gets_copies(tmp_path, monkeypatch):
    runs = [made(tmp_path / "1"), made(tmp_path / "2", ("c",))]

    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    joined = join(runs, out=tmp_path / "out")
    assert masks_of(joined.out) == {**masks_of(runs[0]), **masks_of(runs[1])}
    assert os.stat(joined.mask_path(joined.samples[0])).st_nlink == 1


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    run = made(tmp_path / "1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(PseudoMaskError, match=r"were not joined .*No space left on device"):
        join([run], out=tmp_path / "out")
