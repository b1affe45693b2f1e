"""Removing a run removes what the run wrote, whatever the lists in its folder say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.masks.files import write_mask
from fiftyone_plugin.runs.cleaning import remove_run_files, remove_work
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.record import RunDocument
from fiftyone_plugin.runs.samples import SampleRow

from .run_helpers import files

SETTINGS = {"seed": 0}


def finished(root: Path, names: tuple[str, ...] = ("a", "sub/b")) -> RunDirectory:
    directory = RunDirectory(root)
    directory.open(SETTINGS, resume=False, restart=False)
    rows = [SampleRow(image=f"{name}.jpg", mask=f"{name}.png", classes=(1,)) for name in names]
    for row in rows:
        for folder in (directory.masks, directory.confidence):
            write_mask(folder / row.mask, np.ones((2, 3), np.uint8))
    directory.exemplars.mkdir()
    for number in ("0001", "10000"):
        (directory.exemplars / f"class_{number}.jpg").write_text("x")
    directory.write_samples(rows)
    directory.write_run(RunDocument(SETTINGS, status="complete"))
    directory.finish()
    return directory


def add_edit(root: Path, number: int, masks: tuple[str, ...] = ("a.png",)) -> None:
    folder = root / "edits" / f"{number:03d}"
    for mask in masks:
        write_mask(folder / "masks" / mask, np.ones((2, 3), np.uint8))
    (folder / "edit.json").write_text(json.dumps({"number": number, "kind": "merge"}))


def test_files_beside_those_of_the_run_stay(tmp_path):
    directory = finished(tmp_path)
    add_edit(tmp_path, 1, ("a.png", "sub/b.png"))
    mine = {
        "masks/mine.png", "masks/sub/mine.png", "confidence/mine.png", "exemplars/class_1_my_notes.jpg.txt",
        "exemplars/class_00001.jpg", "exemplars/class_0001.jpg.bak", "model/readme.md", ".work/notes.txt",
        ".work/memo/mine.npz", ".work/fit/mine.pt", "edits/001/notes.txt", "edits/001/masks/mine.png",
        "edits/holiday/edit.json", "edits/holiday/photo.jpg", "edits/002/edit.json", "edits/002/photo.jpg",
    }  # fmt: skip
    for name in mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    directory.remove_outputs()
    directory.remove_if_empty()
    assert files(tmp_path) == mine


def test_nothing_is_left_of_a_run_with_edits(tmp_path):
    root = tmp_path / "run"
    directory = finished(root)
    for number in (1, 2):
        add_edit(root, number)
    directory.remove_outputs()
    directory.remove_if_empty()
    assert not root.exists()


@pytest.mark.parametrize(
    "name", ["../../x.png", "a/../../../x.png", "{outside}/x.png", "/x.png", "sub/../../../x.png", "..", "."]
)
def test_names_that_lead_out_of_the_run_remove_nothing(tmp_path, name):
    outside = tmp_path / "x.png"
    outside.write_text("theirs")
    root = tmp_path / "deep" / "run"
    finished(root)
    row = SampleRow(image="a.jpg", mask=name.format(outside=tmp_path))
    remove_run_files(root, [row])
    assert outside.read_text() == "theirs"


def test_a_table_with_such_a_name_is_refused_before_anything_is_removed(tmp_path):
    directory = finished(tmp_path)
    table = directory.samples_csv.read_text()
    directory.samples_csv.write_text(table.replace("a.jpg,a.png", "a.jpg,../../x.png"))
    before = files(tmp_path)
    with pytest.raises(UsageError, match="leads out of the run"):
        directory.remove_outputs()
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    "linked", ["masks", "masks/sub", "confidence", "exemplars", "model", "edits", ".work"]
)
def test_what_lies_behind_a_link_stays_and_nothing_is_written_there(tmp_path, linked):
    root, theirs = tmp_path / "run", tmp_path / "theirs"
    directory = finished(root)
    names = ("a.png", "b.png", "sub/b.png", "class_0001.jpg", "method.json", "journal.jsonl", "lock", "stop")
    for name in names:
        (theirs / name).parent.mkdir(parents=True, exist_ok=True)
        (theirs / name).write_text("theirs")
    add_edit(theirs, 1)
    os.rename(theirs / "edits" / "001", theirs / "001")
    before = {name: (theirs / name).read_bytes() for name in files(theirs)}
    if (root / linked).is_dir():
        os.rename(root / linked, tmp_path / "aside")
    (root / linked).symlink_to(theirs)
    with pytest.raises(UsageError, match="is a link: a run writes only below its own folder"):
        RunDirectory(root).open(SETTINGS, resume=False, restart=True)
    directory.remove_outputs()
    directory.remove_if_empty()
    assert {name: (theirs / name).read_bytes() for name in files(theirs)} == before


def test_links_to_files_among_the_working_files_are_refused(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    root = tmp_path / "run"
    for name in ("lock", "journal.jsonl"):
        (root / ".work").mkdir(parents=True)
        (root / ".work" / name).symlink_to(tmp_path / "theirs")
        with pytest.raises(UsageError, match="is a link"):
            RunDirectory(root).reserve(resume=True, restart=False)
        (root / ".work" / name).unlink()
        (root / ".work").rmdir()
    assert (tmp_path / "theirs").read_text() == "theirs"


def test_a_run_may_be_reached_through_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    directory = finished(tmp_path / "run")
    directory.remove_outputs()
    directory.remove_if_empty()
    assert files(tmp_path / "disk") == set()
    assert (tmp_path / "run").is_symlink()


def test_the_end_of_a_run_removes_its_working_files_only(tmp_path):
    work = tmp_path / ".work"
    digest = "ab" * 32
    own = (
        "journal.jsonl",
        "stop",
        "fit/training.pt",
        "fit/regions-0123456789abcdef-00007.npz",
        f"memo/regions-1a/ab/{digest}.npz",
    )
    partial = ".pseudomask-1-0a1b2c3d.partial"
    mine = (
        "notes.txt",
        "memo/notes.txt",
        "memo/regions-1a/ab/mine.npz",
        "fit/best.pt",
        "lock",
        "x/journal.jsonl",
    )
    for name in (*own, *mine, partial, f"memo/{partial}"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("x")
    remove_work(tmp_path)
    assert files(work) == set(mine)
