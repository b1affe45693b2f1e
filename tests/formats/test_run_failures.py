"""Exports of bad input, and to targets that are taken, full or not writable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.common.files import is_safe_name
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.importing import read_masks
from fiftyone_plugin.formats.registry import formats
from fiftyone_plugin.formats.staging import ExportFolder

from .conftest import NAMES, read_folder
from .run_helpers import PAIR, REPOSITORY, TWO, files, load

# --- bad input -------------------------------------------------------------------------------------


def test_bad_files_are_listed_and_the_rest_is_exported(small, tmp_path):
    root = small(dict.fromkeys(("bytes", "colours", "good", "huge", "image", "lost", "size"), PAIR), TWO)
    (root / "masks" / "bytes.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(root / "masks" / "colours.png")
    Image.fromarray(PAIR.astype(np.float32)).save(root / "masks" / "huge.tif")
    (root / "masks" / "huge.png").unlink()
    (root / "images" / "image.jpg").write_bytes(b"")
    (root / "masks" / "lost.png").unlink()
    Image.fromarray(PAIR.T).save(root / "masks" / "size.png")
    (root / "masks" / "alone.png").write_bytes((root / "masks" / "good.png").read_bytes())
    result = export(root, out=tmp_path / "o")
    assert result.images == 1
    reasons = {entry.key: entry.reason for entry in result.failed}
    assert reasons.keys() == {
        "bytes.jpg", "colours.jpg", "huge.jpg", "image.jpg", "lost.jpg", "size.jpg", "masks/alone",
    }  # fmt: skip
    assert "cannot be read" in reasons["bytes.jpg"]
    assert "ids without a name" in reasons["colours.jpg"]
    assert "empty file" in reasons["image.jpg"]
    assert reasons["lost.jpg"] == "no mask"
    assert reasons["masks/alone"] == "no image"
    assert "is 2x3, its image 3x2 (width x height)" in reasons["size.jpg"]


def test_if_nothing_is_left_nothing_is_written(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    (root / "images" / "a.jpg").write_bytes(b"x")
    with pytest.raises(PseudoMaskError, match="nothing was exported"):
        export(root, out=tmp_path / "deep" / "o")
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "c:/x", "c:x", "\\x", "a\\..\\b", "", "a\0"])
def test_names_that_lead_out_of_the_folder(name):
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.png", "a..b", "..a", "ä ö/ü"])
def test_names_that_stay_in_the_folder(name):
    assert is_safe_name(name)


def test_a_table_that_points_out_of_its_folder(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    run = {"format": 1, "status": "complete", "settings": {"seed": 0}, "images_root": str(root / "images")}
    (root / "run.json").write_text(json.dumps(run))
    rows = ["image,mask,status,quality,other", "a.jpg,a.png,labelled,0.25,x", "../b.jpg,a.png,labelled,,x",
            "c.jpg,../../c.png,labelled,,x", "d.jpg,,skipped,,x"]  # fmt: skip
    (root / "samples.csv").write_text("\n".join(rows))
    result = export(root, out=tmp_path / "o")
    assert [(s.key, s.reason) for s in result.failed] == [
        ("../b.jpg", "its path leads out of the folder"),
        ("c.jpg", "its path leads out of the folder"),
        ("d.jpg", "not labelled: skipped"),
    ]
    assert load(tmp_path / "o")["images"][0]["quality"] == 0.25
    assert json.loads((tmp_path / "o" / "export.json").read_text())["provenance"]["settings"] == {"seed": 0}


def test_class_names_are_only_ever_text(small, tmp_path):
    names = {1: "../../etc/passwd", 2: 'a/b: "c"\n'}
    root = small({"a": PAIR}, names)
    for kind in formats():
        result = export(root, out=tmp_path / "out" / kind, format=kind)
        assert list(result.categories.values()) == list(names.values())
    assert {p.name for p in tmp_path.iterdir()} == {"small", "out"}
    assert load(tmp_path / "out" / "coco-stuff", "stuff")["categories"][1]["name"] == names[2]
    import yaml

    assert yaml.safe_load((tmp_path / "out" / "yolo" / "data.yaml").read_text())["names"][1] == names[2]


# --- the target ------------------------------------------------------------------------------------


def test_never_overwrites_without_being_told(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    out = tmp_path / "o"
    out.mkdir()
    export(root, out=out)  # empty folders are fine
    before = files(out)
    with pytest.raises(UsageError, match="holds an export"):
        export(root, out=out, format="voc")
    assert files(out) == before
    export(root, out=out, format="voc", overwrite=True)
    assert not (out / "annotations").exists()
    assert (out / "SegmentationClass" / "a.png").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "small"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_export_stays(small, tmp_path, overwrite):
    root = small({"a": PAIR}, TWO)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="no export wrote"):
        export(root, out=tmp_path / "mine", overwrite=overwrite)
    with pytest.raises(UsageError, match="no export wrote"):
        export(root, out=root, overwrite=overwrite)
    with pytest.raises(UsageError, match="is a file"):
        export(root, out=tmp_path / "mine" / "thesis.txt", overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_files_of_somebody_else_in_an_export_stay(small, tmp_path):
    root, out = small({"a": PAIR}, TWO), tmp_path / "o"
    export(root, out=out, format="masks")
    for name in (".DS_Store", "masks/train.cache"):  # of programs, which make them again
        (out / name).write_text("x")
    export(root, out=out, format="masks", overwrite=True)
    (out / "masks" / "notes.txt").write_text("precious")
    before = files(out)
    for again in (partial(export, root), partial(read_masks, root)):
        with pytest.raises(UsageError, match="move yours"):
            again(out=out, overwrite=True)
    assert files(out) == before


@pytest.mark.parametrize("record", ["{}", '{"tool": "another", "counts": {}}', "x", "[]"])
def test_a_folder_with_a_record_of_another_program_stays(small, tmp_path, record):
    root, out = small({"a": PAIR}, TWO), tmp_path / "o"
    out.mkdir()
    (out / "export.json").write_text(record)
    (out / "photo.jpg").write_text("precious")
    for again in (partial(export, root), partial(read_masks, root)):
        with pytest.raises(UsageError, match="no export wrote"):
            again(out=out, overwrite=True)
    assert (out / "photo.jpg").read_text() == "precious"


def test_an_export_is_not_replaced_by_an_export_of_itself(small, tmp_path):
    export(small({"a": PAIR}, TWO), out=tmp_path / "o", format="masks")
    before = files(tmp_path / "o")
    with pytest.raises(UsageError, match="holds what is to be exported"):
        export(tmp_path / "o", out=tmp_path / "o", overwrite=True)
    assert files(tmp_path / "o") == before


@pytest.mark.parametrize("name", list(formats()))
def test_a_disk_that_fills_up_leaves_nothing(small, tmp_path, name):
    """A limit on the size of files is what a full disk is to a program: a write that fails half-way."""
    rng = np.random.default_rng(0)
    root = small({f"{i}": rng.integers(0, 3, (80, 90), np.uint8) for i in range(4)}, TWO)
    code = (
        "import resource, signal, sys\n"
        "from fiftyone_plugin.cli.main import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    pytest.importorskip("resource")
    arguments = ["export", str(root), "--out", str(tmp_path / "o"), "--format", name, "-q"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_targets_that_cannot_be_written(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to"):
        export(root, out=tmp_path / "file" / "o")
    with pytest.raises(UsageError, match="is a mount point; choose a folder inside it"):
        export(root, out=tmp_path.anchor)
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(UsageError, match="cannot write to"):
            export(root, out=tmp_path / "closed" / "o")


def test_a_caller_who_cancels_leaves_nothing(levels, tmp_path):
    from fiftyone_plugin.common.progress import CallbackProgress

    def cancel(stage, done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(levels, out=tmp_path / "o", progress=CallbackProgress(cancel, interval=0))
    assert list(tmp_path.iterdir()) == []


def test_two_exports_to_one_folder_do_not_mix(small, tmp_path):
    root = small({"a": PAIR}, TWO)
    with ExportFolder(tmp_path / "o") as first:
        (first.path / "export.json").write_text("{}")
        with pytest.raises(UsageError, match=r"another export or import is writing to .*o; wait for it"):
            export(root, out=tmp_path / "o")
        export(root, out=tmp_path / "p")
        (tmp_path / "p").rename(tmp_path / "o")
        with pytest.raises(UsageError, match="holds an export"):
            first.commit()
    assert load(tmp_path / "o")["images"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o", "small"]


def test_sources_that_are_none(tmp_path, levels):
    with pytest.raises(UsageError, match="has no folder masks/"):
        export(tmp_path, out=tmp_path / "o")
    (tmp_path / "masks").mkdir()
    with pytest.raises(UsageError, match=r"where the images of .* are is not known"):
        export(tmp_path, out=tmp_path / "o")
    (tmp_path / "run.json").write_text('{"format": 1, "status": "running", "settings": {}}')
    with pytest.raises(UsageError, match="is not finished"):
        export(tmp_path, out=tmp_path / "o")


def test_masks_as_they_were(levels, originals, tmp_path):
    export(levels, out=tmp_path / "o", format="masks")
    again = read_folder(tmp_path / "o" / "masks")
    assert again.keys() == originals.keys()
    assert all(np.array_equal(again[name], originals[name]) for name in originals)
    assert json.loads((tmp_path / "o" / "classes.json").read_text()) == NAMES


def test_names_that_are_no_text(small, tmp_path):
    root = small({"a": PAIR, "b": PAIR, "c": PAIR}, TWO)
    names = {"a": b"\xff\xfe", "b": b"line\nbreak"}
    try:
        for old, new in names.items():
            for folder, suffix in (("images", ".jpg"), ("masks", ".png")):
                path = os.fsencode(root / folder)
                os.rename(path + f"/{old}{suffix}".encode(), path + b"/" + new + suffix.encode())
    except OSError as error:
        pytest.skip(f"no such names on this file system: {error}")
    for kind in formats():
        result = export(root, out=tmp_path / kind, format=kind)
        reasons = {"a line break in its name: lists have a line an image"}
        if kind == "cvat":
            reasons |= {"its name is not UTF-8, which a ZIP wants: rename the image"}
        assert {skipped.reason for skipped in result.failed} == reasons
        assert result.images == 3 - len(reasons)
    stems = (tmp_path / "voc" / "ImageSets" / "Segmentation" / "trainval.txt").read_bytes().split(b"\n")
    assert sorted(stems) == [b"", b"c", b"\xff\xfe"]


@pytest.mark.parametrize("command", ["evaluate", "compare", "export", "import", "again"])
def test_every_command_puts_back_what_a_killed_export_moved_away(small, tmp_path, command, capsys):
    from fiftyone_plugin.cli.main import main
    from fiftyone_plugin.common.workshop import LOCK, workshop_path

    root, out = small({"a": PAIR}, TWO), tmp_path / "o"
    export(root, out=out, format="masks")
    before = files(out)
    folder = workshop_path(out)
    folder.mkdir()
    (folder / LOCK).touch()
    out.rename(folder / "old")
    arguments = {
        "evaluate": [str(out), str(root)],
        "compare": [str(root), str(out)],
        "export": [str(out), "--out", str(tmp_path / "p")],
        "import": [str(out / "masks"), "--out", str(tmp_path / "p")],
        "again": [str(root), "--out", str(out)],
    }[command]
    code = main([command if command != "again" else "export", *arguments])
    assert code == (2 if command == "again" else 0), capsys.readouterr().err
    assert files(out) == before
    assert {p.name for p in tmp_path.iterdir()} <= {"o", "p", "small"}


def test_a_name_that_is_too_long_is_refused(small, tmp_path):
    with pytest.raises(UsageError, match="cannot write to"):
        export(small({"a": PAIR}, TWO), out=tmp_path / ("x" * 300))
    assert [p.name for p in tmp_path.iterdir()] == ["small"]
