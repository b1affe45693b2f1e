from __future__ import annotations

import json
import os
import struct
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.cli import main
from fiftyone_plugin.errors import ImageReadError, UsageError
from fiftyone_plugin.evaluation import Mapping
from fiftyone_plugin.evaluation.folders import pair_masks, read_classes
from fiftyone_plugin.masks.files import read_mask

from .references import blocky


def write(path, mask, dtype=np.uint8):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(mask, dtype)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Five images in two folders, clusters 11, 12, 13 for the classes 1, 2, 3; a rim of 0 is unlabelled."""
    rng = np.random.default_rng(0)
    for i in range(5):
        true = blocky(rng, 3) + 1
        pred = true + 10
        pred[:8] = 11
        true[:2] = 0
        write(tmp_path / "gt" / f"{i % 2}" / f"{i}.png", true)
        write(tmp_path / "run" / "masks" / f"{i % 2}" / f"{i}.png", pred, np.uint16)
    (tmp_path / "classes.json").write_text('{"1": "sky", "2": "grass", "3": "road"}')
    return tmp_path


def test_two_folders(folders, capsys):
    arguments = [
        "--names",
        str(folders / "classes.json"),
        "--ignore",
        "0",
        "--json",
        str(folders / "out.json"),
    ]
    assert main(["evaluate", str(folders / "run"), str(folders / "gt"), *arguments]) == 0
    out = capsys.readouterr().out
    assert "iou-hungarian" in out
    assert "1 sky" in out
    result = json.loads((folders / "out.json").read_text())
    assert (result["n"], result["K"], result["protocol"], result["coverage"]) == (5, 3, "iou-hungarian", 1.0)
    assert result["mapping"]["clusters"] == {"11": 1, "12": 2, "13": 3}
    assert result["settings"]["left_out"] == {"only_pred": [], "only_true": [], "unreadable": []}
    assert f"{100 * result['scores']['miou']:.1f}" in out
    assert result["images"]["name"] == ["0/0", "0/2", "0/4", "1/1", "1/3"]


def test_a_mapping_goes_from_run_to_run(folders, capsys):
    run, true, mapping = str(folders / "run"), str(folders / "gt"), str(folders / "mapping.json")
    assert main(["evaluate", run, true, "--protocol", "majority", "--save-mapping", mapping]) == 0
    assert Mapping.load(mapping).clusters == {11: 1, 12: 2, 13: 3}
    assert main(["evaluate", run, true, "--mapping", mapping, "--json", str(folders / "b.json")]) == 0
    result = json.loads((folders / "b.json").read_text())
    assert (result["protocol"], result["settings"]["mapping"]) == ("majority", "given")
    # a result holds its mapping, and serves as well
    assert Mapping.load(folders / "b.json").clusters == {11: 1, 12: 2, 13: 3}


def test_what_is_left_out_is_listed_and_told_by_the_exit_code(folders, capsys):
    (folders / "gt" / "0" / "0.png").unlink()
    (folders / "run" / "masks" / "0" / "2.png").unlink()
    (folders / "gt" / "1" / "1.png").write_bytes(b"not a picture")
    assert main(["evaluate", str(folders / "run"), str(folders / "gt")]) == 3
    err = capsys.readouterr().err
    assert "predictions without ground truth: 1\n  0/0" in err
    assert "ground truth without prediction: 1\n  0/2" in err
    assert "pairs that cannot be compared: 1\n  1/1: " in err
    assert "1.png: cannot be read as a mask" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "gt"], "the folder of predictions does not exist: "),
        (["run", "empty"], "no masks (.bmp, .png, .tif, .tiff) in "),
        (["run", "other"], "no mask of "),
        (["run", "gt", "--protocol", "best"], "unknown protocol 'best'"),
        (
            ["run", "gt", "--names", "classes.json"],
            "the ground truth holds ids [0] that the classes do not name",
        ),
        (["run", "gt", "--names", "gone.json"], "cannot read gone.json, a list of class names"),
        (["run", "gt", "--mapping", "classes.json"], "classes.json: this is no mapping"),
        (["run", "gt", "--protocol", "alignseg_per_image", "--save-mapping", "m.json"], "no mapping to save"),
        (["run", "gt", "--json", "no/such/folder.json"], "cannot write "),
        (["run", "gt", "--bootstrap", "-1"], "the number of bootstrap replicates is -1"),
        (
            ["run", "gt", "--bootstrap", "1000000000000"],
            "the number of bootstrap replicates is 1000000000000",
        ),
        (["run", "gt", "--ignore", "0", "1", "2", "3"], "nothing to score"),
        (["run", "small"], "0/0: the prediction is 48x64 (height x width), the ground truth 2x2"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(folders, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folders)
    (folders / "empty").mkdir()
    write(folders / "other" / "x.png", [[1]])
    write(folders / "small" / "0" / "0.png", [[1, 1], [1, 1]])
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_foreground_reads_binary_masks_of_0_and_255(tmp_path, capsys):
    true = np.zeros((20, 20))
    true[5:15, 5:15] = 255
    write(tmp_path / "gt" / "a.png", true)
    write(tmp_path / "pred" / "a.png", true > 0)
    arguments = ["--protocol", "foreground", "--json", str(tmp_path / "o.json")]
    assert main(["evaluate", str(tmp_path / "pred"), str(tmp_path / "gt"), *arguments]) == 0
    scores = json.loads((tmp_path / "o.json").read_text())["scores"]
    assert scores.pop("mae") == 0
    assert set(scores) > {"iou_pooled", "pixel_accuracy", "iou", "f_beta", "corloc"}
    assert set(scores.values()) == {1.0}
    assert "CorLoc" in capsys.readouterr().out


def test_other_options_reach_the_evaluation(folders, capsys):
    write(folders / "gt" / "0" / "0.png", [[1, 2], [3, 3]])
    out = folders / "o.json"
    arguments = ["--resize", "--boundary", "--bootstrap", "0", "--unlabelled", "none", "--json", str(out)]
    assert main(["evaluate", str(folders / "run"), str(folders / "gt"), *arguments]) == 0
    result = json.loads(out.read_text())
    assert result["confidence"] == {}
    assert result["settings"]["unlabelled"] is None
    assert 0 < result["scores"]["boundary_f"] <= 1


def test_real_ground_truth_against_itself(data_dir, tmp_path, capsys):
    folder = data_dir / "coco27"
    arguments = [
        "--names",
        str(folder / "classes.json"),
        "--ignore",
        "0",
        "--json",
        str(tmp_path / "o.json"),
    ]
    assert main(["evaluate", str(folder), str(folder), *arguments]) == 0
    result = json.loads((tmp_path / "o.json").read_text())
    assert (result["n"], result["classes"], result["scores"]["miou"]) == (100, 27, 1.0)


# --- files -----------------------------------------------------------------------------------------


def test_masks_of_every_single_channel_kind(tmp_path):
    ids = np.array([[0, 1], [2, 3]], np.uint8)
    palette = Image.fromarray(ids, mode=None).convert("P")
    palette.putdata(ids.ravel().tolist())
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    palette.save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    Image.fromarray(ids).save(tmp_path / "grey.png")
    Image.fromarray(ids.astype(np.uint16) * 300).save(tmp_path / "sixteen.png")
    Image.fromarray(ids > 1).save(tmp_path / "binary.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "palette.png"), ids)
    np.testing.assert_array_equal(read_mask(tmp_path / "grey.png"), ids)
    np.testing.assert_array_equal(read_mask(tmp_path / "sixteen.png"), ids.astype(int) * 300)
    np.testing.assert_array_equal(read_mask(tmp_path / "binary.png"), ids > 1)


def test_colours_are_no_ids(tmp_path):
    Image.fromarray(np.eye(3, dtype=np.uint8)[None]).save(tmp_path / "colour.png")
    with pytest.raises(ImageReadError, match=r"colour\.png: not a mask of class ids"):
        read_mask(tmp_path / "colour.png")


def test_two_files_of_one_stem_are_refused(tmp_path):
    write(tmp_path / "a" / "x.png", [[1]])
    write(tmp_path / "a" / "x.tif", [[1]])
    with pytest.raises(UsageError, match="have the same stem"):
        pair_masks(tmp_path / "a", tmp_path / "a")


def test_masks_pair_in_every_form_of_unicode_and_through_links(tmp_path):
    names = ["Caf\u00e9", "Stra\u00dfe", "IMG_1", "photo.jpg"]
    for name in names:
        write(tmp_path / "a" / "x" / f"{unicodedata.normalize('NFD', name)}.png", [[1]])
    for name in ("Caf\u00e9", "Stra\u00dfe", "img_1", "photo"):
        write(tmp_path / "disk" / f"{name}.png", [[1]])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "b")
    found = pair_masks(tmp_path / "a", tmp_path / "b")
    assert (found.only_pred, found.only_true) == ([], [])
    assert [true.name for _, _, true in found.pairs] == [
        "Caf\u00e9.png", "img_1.png", "Stra\u00dfe.png", "photo.png",
    ]  # fmt: skip


def test_masks_never_pair_with_those_of_another_folder(tmp_path):
    for name in ("a/train/0", "a/train/1", "b/val/0", "b/train/1", "b/1"):
        write(tmp_path / f"{name}.png", [[1]])
    found = pair_masks(tmp_path / "a", tmp_path / "b")
    assert [name for name, _, _ in found.pairs] == ["train/1"]
    assert (found.only_pred, found.only_true) == (["train/0"], ["1", "val/0"])


def test_hidden_files_and_other_files_are_no_masks(tmp_path):
    for name in ("x.png", ".hidden.png", ".cache/y.png"):
        write(tmp_path / "a" / name, [[1]])
    (tmp_path / "a" / "notes.txt").write_text("")
    assert [name for name, _, _ in pair_masks(tmp_path / "a", tmp_path / "a").pairs] == ["x"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('["void", "sky"]', {0: "void", 1: "sky"}),
        ('{"4": "sea", "2": "sand"}', {4: "sea", 2: "sand"}),
        ('\ufeff{"4": "sea"}', {4: "sea"}),
        ('{"1": {"name": "cow", "supercategory": "animal"}, "2": "grass"}', {1: "cow", 2: "grass"}),
    ],
)
def test_class_files(tmp_path, text, expected):
    (tmp_path / "c.json").write_text(text, encoding="utf-8")
    assert read_classes(tmp_path / "c.json") == expected


@pytest.mark.parametrize("text", ["", "3", '"sky"', '{"sky": 1}', "[]", "null", "[" * 10_000, '{"1": [2]}'])
def test_other_class_files_are_refused_by_name(tmp_path, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UsageError, match=r"c\.json"):
        read_classes(tmp_path / "c.json")


# --- files of strangers ----------------------------------------------------------------------------


def pairs_with_faults(folder):
    """Write eight pairs of masks; the truth of all but a and h is no mask that can be compared with."""
    mask = np.random.default_rng(0).integers(1, 4, (20, 30), dtype=np.uint8)
    for side in ("pred", "gt"):
        (folder / side).mkdir()
        for name in "abcdefgh":
            Image.fromarray(mask).save(folder / side / f"{name}.png")
    huge = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    whole = (folder / "gt" / "b.png").read_bytes()
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + huge))
    (folder / "gt" / "b.png").write_bytes(whole[:16] + huge + crc + whole[33:])
    Image.fromarray(mask).save(folder / "gt" / "c.png", format="JPEG")
    Image.fromarray(mask[:9]).save(folder / "gt" / "d.png")
    Image.fromarray(mask).save(folder / "gt" / "e.png", format="EPS")
    (folder / "gt" / "f.png").write_bytes(whole[:-40])
    colours = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "gt" / "g.png")
    reasons = {
        "b": "too large: image size (900000000 pixels)",
        "c": "JPEG changes ids; save masks as PNG",
        "d": "9x30",
        "e": "not an image in a known format",
        "f": "truncated file",
        "g": "it holds colours",
    }
    if hasattr(os, "mkfifo"):
        (folder / "gt" / "h.png").unlink()
        os.mkfifo(folder / "gt" / "h.png")
        reasons["h"] = "not a regular file"
    return reasons


def test_pairs_that_cannot_be_compared_are_left_out_and_listed(tmp_path, capsys):
    reasons = pairs_with_faults(tmp_path)
    out = tmp_path / "o.json"
    assert main(["evaluate", str(tmp_path / "pred"), str(tmp_path / "gt"), "--json", str(out)]) == 3
    result = json.loads(out.read_text())
    assert (result["n"], result["scores"]["miou"]) == (8 - len(reasons), 1.0)
    found = dict(result["settings"]["skipped"])
    assert found.keys() == reasons.keys()
    for key, reason in reasons.items():
        assert reason in found[key]
    shown = capsys.readouterr()
    assert f"{len(reasons)} images left out, with masks that cannot be compared: b: " in shown.out
    assert f"pairs that cannot be compared: {len(reasons)}\n  b: " in shown.err
    assert main(["compare", str(tmp_path / "pred"), str(tmp_path / "gt")]) == 3
    listed = capsys.readouterr()
    for key, reason in reasons.items():
        assert any(
            f"left out: {key}: " in line and reason in line for line in (listed.out + listed.err).splitlines()
        )


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"mapping": ' + "[" * 500 + "]" * 500 + "}",
        '{"format": 1, "protocol": "majority", "clusters": {"1": -4}, "unmatched": null, "names": {}}',
        '{"format": 1, "protocol": "majority", "clusters": {"1": "x"}, "unmatched": null, "names": {}}',
        '{"format": 1, "protocol": "majority", "clusters": [1], "unmatched": null, "names": {}}',
        '{"format": 1, "protocol": "majority", "clusters": {"1": 1e400}, "unmatched": null, "names": {}}',
        "\udcff",
    ],
    ids=["deep", "nested", "negative", "text", "list", "infinite", "no UTF-8"],
)
def test_mappings_that_are_none(tmp_path, capsys, text):
    (tmp_path / "m.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    write(tmp_path / "a" / "x.png", [[1]])
    assert main(["evaluate", *[str(tmp_path / "a")] * 2, "--mapping", str(tmp_path / "m.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "m.json" in line


def test_results_are_replaced_whole_or_not_at_all(folders, capsys, monkeypatch):
    out, mapping = folders / "o.json", folders / "m.json"
    arguments = ["evaluate", str(folders / "run"), str(folders / "gt"), "--bootstrap", "0"]
    arguments += ["--json", str(out), "--save-mapping", str(mapping)]
    assert main(arguments) == 0
    before = out.read_bytes(), mapping.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert main(arguments) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert (out.read_bytes(), mapping.read_bytes()) == before
    assert not [path for path in folders.iterdir() if "partial" in path.name]
