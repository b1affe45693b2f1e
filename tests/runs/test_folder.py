"""The folder of a run: what it refuses, what it removes, what survives a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fiftyone_plugin.common.files import is_below, write_json
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.masks.files import write_mask
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.samples import SampleRow, read_samples

from .run_helpers import SETTINGS, add, complete, files, opened

# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("highest", "mode", "dtype"),
    [(0, "L", np.uint8), (255, "L", np.uint8), (256, "I;16", np.uint16), (65_535, "I;16", np.uint16)],
)
def test_masks_are_one_channel_of_the_smallest_type(tmp_path, highest, mode, dtype):
    mask = np.random.default_rng(0).integers(0, highest + 1, (7, 5))
    mask[0, 0] = highest
    write_mask(tmp_path / "deep" / "er" / "m.png", mask)
    with Image.open(tmp_path / "deep" / "er" / "m.png") as image:
        assert image.format == "PNG"
        assert image.mode == mode
        read = np.asarray(image)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, mask)
    assert files(tmp_path) == {"deep/er/m.png"}


@pytest.mark.parametrize("value", [-1, 65_536])
def test_masks_hold_16_bits_at_most(tmp_path, value):
    with pytest.raises(UsageError, match=r"within 0\.\.65535"):
        write_mask(tmp_path / "m.png", np.array([[0, value]]))
    assert files(tmp_path) == set()


# --- samples.csv ----------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=20) | st.sampled_from(
    [
        "a\rb.jpg",
        "\r",
        "a\r\nb",
        '"',
        '"a",\n"b"',
        "=1+1",
        "'=1",
        "'",
        "-",
        "@SUM(A1)",
        "\t",
        "8:30.jpg",
        "a\\b",
    ]
)
names = texts.filter(lambda text: not text or is_below(text))  # a mask never leads out of its folder


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            SampleRow, image=texts, mask=names, error=texts,
            width=st.integers(0, 9999), height=st.integers(0, 9999),
            classes=st.lists(st.integers(1, 99)).map(tuple),
            status=st.sampled_from(["labelled", "skipped"]),
            coverage=st.floats(0, 1), seconds=st.floats(0, 1e4),
        ),
        max_size=4,
    )
)  # fmt: skip
def test_rows_survive_the_table(tmp_path_factory, rows):
    directory = RunDirectory(tmp_path_factory.mktemp("table"))
    directory.write_samples(rows)
    read = read_samples(directory.samples_csv)
    assert len(read) == len(rows)
    for found, row in zip(read, rows, strict=True):
        for name in ("image", "mask", "status", "width", "height", "classes", "error", "class_ids"):
            assert getattr(found, name) == getattr(row, name)
        assert found.coverage == pytest.approx(row.coverage, abs=1e-6)
        assert found.seconds == pytest.approx(row.seconds, abs=1e-4)


def test_names_that_are_not_utf8_survive(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    directory = opened(tmp_path / "run")
    directory.append([SampleRow(image=name, mask="m.png")])
    write_mask(directory.masks / "m.png", np.ones((2, 3), np.uint8))
    assert [row.image for row in directory.finished()] == [name]
    directory.write_samples(directory.finished())
    assert b"caf\xe9.jpg" in directory.samples_csv.read_bytes()
    assert [row.image for row in read_samples(directory.samples_csv)] == [name]


# --- opening --------------------------------------------------------------------------------------


def test_a_finished_run_leaves_only_its_results(tmp_path):
    complete(tmp_path / "run")
    assert files(tmp_path / "run") == {
        "run.json", "samples.csv", "classes.json", "contact_sheet.png", "masks/a.png", "masks/sub/b.png",
        "model/method.json", "model/arrays.safetensors", "model/pipeline.json",
    }  # fmt: skip
    assert not (tmp_path / "run" / ".work").exists()


@pytest.mark.parametrize("finished", [True, False])
def test_an_earlier_run_is_refused_without_a_word(tmp_path, finished):
    if finished:
        complete(tmp_path)
    else:
        opened(tmp_path).close()
    before = {path: (tmp_path / path).read_bytes() for path in files(tmp_path)}
    match = (
        "a finished run; use --overwrite" if finished else "an unfinished run; use --resume .* --overwrite"
    )
    with pytest.raises(UsageError, match=match):
        opened(tmp_path)
    assert {path: (tmp_path / path).read_bytes() for path in files(tmp_path) - {".work/lock"}} == {
        path: content for path, content in before.items() if path != ".work/lock"
    }
    opened(tmp_path, restart=True).close()  # the refused one has let go of the lock


def test_resuming_needs_the_same_settings_and_names_the_difference(tmp_path):
    directory = opened(tmp_path)
    add(directory, "a")
    directory.close()
    other = {**SETTINGS, "seed": 1, "backbone": {"name": "a", "size": 224}, "new": None}
    with pytest.raises(UsageError) as caught:
        opened(tmp_path, other, resume=True)
    assert "backbone.size was 448, now 224; seed was 0, now 1" in str(caught.value)
    again = opened(tmp_path, {**SETTINGS, "unset": None}, resume=True)  # None is as good as absent
    assert [row.image for row in again.finished()] == ["a.jpg"]
    again.close()


def test_resume_and_restart_of_nothing_just_start(tmp_path):
    for option in ("resume", "restart"):
        directory = opened(tmp_path / option, **{option: True})
        assert directory.read_run().status == "running"
        assert list(directory.finished()) == []
        directory.close()


def test_resume_and_restart_exclude_each_other(tmp_path):
    with pytest.raises(UsageError, match="exclude each other"):
        opened(tmp_path / "run", resume=True, restart=True)
    assert not (tmp_path / "run").exists()


def test_resuming_a_finished_run_finds_its_rows(tmp_path):
    complete(tmp_path)
    directory = opened(tmp_path, resume=True)
    assert [row.image for row in directory.finished()] == ["a.jpg", "sub/b.jpg"]
    directory.close()


@pytest.mark.parametrize("left", [b"", b"\x89PNG\r\n", None])
def test_a_mask_that_a_loss_of_power_has_cut_short_is_not_finished(tmp_path, left):
    complete(tmp_path)
    mask = tmp_path / "masks" / "sub" / "b.png"
    mask.write_bytes(mask.read_bytes()[:-1] if left is None else left)
    directory = opened(tmp_path, resume=True)
    assert [row.image for row in directory.finished()] == ["a.jpg"]
    directory.close()
    if hasattr(os, "mkfifo"):
        mask.unlink()
        os.mkfifo(mask)
        assert [row.image for row in opened(tmp_path, resume=True).finished()] == ["a.jpg"]


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_a_folder_of_a_name_that_the_file_system_refuses_is_said_so(tmp_path, name):
    with pytest.raises(UsageError, match="cannot write to"):
        opened(tmp_path / name)


# --- what is not ours -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["masks/theirs.png", "masks", "samples.csv", "classes.json", "contact_sheet.png", "model/method.json",
     "model/arrays.safetensors"],
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"restart": True}])
def test_files_that_no_run_wrote_are_never_taken_over(tmp_path, name, options):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(UsageError, match="was not written by a run of this command"):
        opened(tmp_path, **options)
    assert files(tmp_path) == {name}
    assert path.read_text() == "precious"
    assert not (tmp_path / ".work").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "cannot be read"),
        ("[]", "not the record of a run"),
        ('{"tool": "another"}', "not the record of a run"),
        ('{"format": 99, "settings": {}}', "format 99, this version reads 1"),
        ("\xff\xfe", "cannot be read"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"restart": True}])
def test_a_record_that_is_not_ours_is_never_removed(tmp_path, content, match, options):
    (tmp_path / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(UsageError, match=match):
        opened(tmp_path, **options)
    assert files(tmp_path) == {"run.json"}


def test_a_folder_of_other_things_may_be_used(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "other.bin").write_text("mine")
    complete_in = opened(tmp_path)
    complete_in.close()
    assert (tmp_path / "model" / "other.bin").read_text() == "mine"


def test_nothing_is_left_of_a_removed_run(tmp_path):
    complete(tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    directory.remove_outputs()
    directory.remove_if_empty()
    assert not (tmp_path / "run").exists()


# --- crashes --------------------------------------------------------------------------------------


def test_what_a_crash_leaves_is_known_and_removed(tmp_path):
    """Killed between the journal and the mask, and in the middle of either."""
    directory = opened(tmp_path)
    add(directory, "done")
    directory.append([SampleRow(image="cut.jpg", mask="cut.png")])
    (directory.masks / ".pseudomask-1-0a1b2c3d.partial").write_bytes(b"\x89PNG")
    with (directory.work / "journal.jsonl").open("a") as file:
        file.write('\n{"image": "half.jp')
    directory.close()

    again = opened(tmp_path, resume=True)
    assert [row.image for row in again.finished()] == ["done.jpg"]
    add(again, "cut")
    add(again, "half")
    assert [row.image for row in again.finished()] == ["done.jpg", "cut.jpg", "cut.jpg", "half.jpg"]
    again.close()

    (tmp_path / "masks" / ".pseudomask-1-4e5f6a7b.partial").write_bytes(b"\x89PNG")
    opened(tmp_path, restart=True).close()
    assert files(tmp_path) - {".work/lock"} == {"run.json"}


def test_json_appears_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2], "b": 1}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2], "b": 1}
    with pytest.raises(PseudoMaskError, match="cannot write"):
        write_json(tmp_path / "none" / "a.json", {})


# --- one at a time --------------------------------------------------------------------------------


def test_a_second_process_is_refused(tmp_path):
    """The lock is the operating system's: it is gone with the process that held it, however that ended."""
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from fiftyone_plugin.runs.folder import RunDirectory
        directory = RunDirectory(Path(sys.argv[1]))
        directory.open({"seed": 1}, resume=True, restart=False)
        print("open", flush=True)
        sys.stdin.read()
    """)
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "open\n"
        for options in ({"resume": True}, {"restart": True}, {}):
            with pytest.raises(UsageError, match="another process is writing"):
                opened(tmp_path, {"seed": 1}, **options)
    finally:
        holder.kill()
        holder.communicate()
    opened(tmp_path, {"seed": 1}, resume=True).close()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="cannot write to"):
        opened(tmp_path / "file")
    with pytest.raises(UsageError, match="cannot write to"):
        opened(tmp_path / "file" / "below")
