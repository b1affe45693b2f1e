"""CVAT and Label Studio, there and back: against datumaro and Label Studio's own converter."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.formats import export, read_masks
from fiftyone_plugin.formats.importing import open_masks
from fiftyone_plugin.formats.label_studio import LONGEST, decode_rle, encode_rle

from .conftest import NAMES, read_folder
from .run_helpers import PAIR, TWO, files
from .test_consumers import category_of

BITS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


@pytest.fixture(scope="module")
def brush():
    return pytest.importorskip("label_studio_sdk.converter.brush", exc_type=ImportError)


# --- the bytes of a brush --------------------------------------------------------------------------


@given(BITS)
def test_a_mask_survives_the_bytes_of_a_brush(mask):
    assert np.array_equal(decode_rle(encode_rle(mask), *mask.shape), mask)


@given(BITS)
def test_label_studio_and_we_read_each_other(brush, mask):
    read = brush.decode_rle(encode_rle(mask)).reshape(*mask.shape, 4)
    assert np.array_equal(read == 255, mask[..., None].repeat(4, 2))
    assert np.array_equal(decode_rle(brush.mask2rle(mask.astype(np.uint8) * 255), *mask.shape), mask)


@pytest.mark.parametrize("extra", [-1, 0, 1, LONGEST // 4])
def test_runs_longer_than_the_longest_length(brush, extra):
    mask = np.ones((1, LONGEST // 4 + extra), bool)
    mask[0, -1] = False
    data = encode_rle(mask)
    assert np.array_equal(brush.decode_rle(data)[3::4] > 0, mask[0])
    assert np.array_equal(decode_rle(data, *mask.shape), mask)


def literal(values):
    """Bytes that spell every value out, 16 at a time, as no encoder of ours does."""
    text = f"{len(values):032b}00111" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    for start in range(0, len(values), 16):
        part = values[start : start + 16]
        text += f"001{len(part) - 1:04b}" + "".join(f"{value:08b}" for value in part)
    return [int(text[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(text), 8)]


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_literal_values_and_weak_strokes(brush, alpha):
    values = np.zeros((*alpha.shape, 4), np.uint8)
    values[..., 3] = alpha
    data = literal(values.ravel().tolist())
    assert np.array_equal(brush.decode_rle(data).reshape(*alpha.shape, 4), values)
    assert np.array_equal(decode_rle(data, *alpha.shape), alpha > 0)


@given(st.lists(st.integers(0, 255), max_size=40))
def test_bytes_of_a_stranger_are_refused_or_read(data):
    with suppress(UsageError):
        assert decode_rle(data, 2, 3).shape == (2, 3)


@pytest.mark.parametrize("data", [None, "abc", [1, "x"], [[1], [2]], [300], [-1], [0.5, None], []])
def test_what_is_no_list_of_bytes_is_refused(data):
    with pytest.raises(UsageError, match="rle"):
        decode_rle(data, 1, 1)


# --- Label Studio ----------------------------------------------------------------------------------


def test_label_studio_there_and_back(levels, originals, brush, tmp_path):
    out = tmp_path / "o"
    result = export(levels, out=out, format="label-studio")
    tasks = json.loads((out / "tasks.json").read_text())
    assert sum(len(task["predictions"][0]["result"]) for task in tasks) == result.annotations
    labels = [
        (label.get("value"), label.get("category"))
        for label in ElementTree.parse(out / "label_config.xml").iter("Label")
    ]
    assert labels == [(name, i) for i, name in NAMES.items()]
    ids = {name: int(i) for i, name in NAMES.items()}
    for task, mask in zip(tasks, originals.values(), strict=True):
        read = np.zeros_like(mask)
        served = [{**entry, **entry["value"]} for entry in task["predictions"][0]["result"]]
        layers = brush.decode_from_annotation("tag", served)
        for entry, layer in zip(served, layers.values(), strict=True):
            assert not read[layer > 0].any()
            read[layer > 0] = ids[entry["brushlabels"][0]]
        assert np.array_equal(read, mask)
        assert (out / task["data"]["image"].split("?d=")[1]).is_file()
    back = read_masks(out / "tasks.json", tmp_path / "back")
    assert back.names == {int(i): name for i, name in NAMES.items()}
    found = read_folder(tmp_path / "back" / "masks")
    assert found.keys() == originals.keys()
    assert all(np.array_equal(mask, originals[name]) for name, mask in found.items())
    assert not back.skipped


def result_of(mask, label, **changes):
    entry = {
        "id": "r1", "type": "brushlabels", "original_height": mask.shape[0], "original_width": mask.shape[1],
        "value": {"format": "rle", "rle": encode_rle(mask), "brushlabels": [label]},
    }  # fmt: skip
    return entry | changes


def task(image, *results, **more):
    return {"data": {"image": image}, "annotations": [{"result": list(results)}], **more}


def imported(tmp_path, tasks):
    (tmp_path / "project-1.json").write_text(json.dumps(tasks))
    result = read_masks(tmp_path / "project-1.json", tmp_path / "back")
    return {name: mask.tolist() for name, mask in read_folder(tmp_path / "back" / "masks").items()}, result


def test_the_last_annotation_that_was_not_cancelled_counts(tmp_path):
    one, two, off = ([result_of(PAIR == 1, name)] for name in ("b", "a", "c"))
    tasks = [
        {
            "data": {"image": "/data/upload/3/0123abcd-x.jpg"},
            "predictions": [{"result": off}],
            "annotations": [{"result": one}, {"result": two}, {"result": off, "was_cancelled": True}],
        },
        {"data": {"photo": "s3://bucket/deep/y.jpg"}, "predictions": [{"result": one}]},
        {"data": {"image": "/data/local-files/?d=images/d%20e/z.jpg"}, "completions": [{"result": two}]},
    ]
    masks, result = imported(tmp_path, tasks)
    assert result.names == {1: "a", 2: "b"}
    assert masks == {
        "x": [[0, 1, 1], [0, 0, 1]],
        "deep/y": [[0, 2, 2], [0, 0, 2]],
        "d e/z": [[0, 1, 1], [0, 0, 1]],
    }


def test_later_strokes_are_over_earlier_ones(tmp_path):
    masks, _ = imported(tmp_path, [task("a.jpg", result_of(PAIR >= 0, "one"), result_of(PAIR == 2, "two"))])
    assert masks == {"a": [[1, 1, 1], [2, 2, 1]]}


def test_what_is_no_brush_mask_is_listed_and_costs_itself(tmp_path):
    good = result_of(PAIR == 1, "a")
    bad = [
        {"id": "r2", "type": "rectanglelabels", "value": {"x": 1}},
        result_of(PAIR == 1, "a", original_width=7),
        result_of(PAIR == 1, "a", original_height=None),
        result_of(PAIR == 1, "a", value={"format": "rle", "rle": [0, 0], "brushlabels": ["a"]}),
        result_of(PAIR == 1, "a", value={"format": "rle", "rle": encode_rle(PAIR == 1), "brushlabels": []}),
        result_of(PAIR == 1, "a", original_width=10**9, original_height=10**9),
        result_of(np.ones((1, 1), bool), "a"),
        None,
    ]
    masks, result = imported(
        tmp_path, [task("a.jpg", good, *bad), task("b.jpg"), task("a.jpg"), {"data": {}}, 3]
    )
    assert masks == {"a": [[0, 1, 1], [0, 0, 1]]}
    reasons = [str(entry) for entry in result.skipped]
    assert len(reasons) == len(bad) + 4
    assert "a 'rectanglelabels', no brush mask" in " ".join(reasons)
    with pytest.raises(PseudoMaskError, match="no mask of"):
        read_masks(_file(tmp_path, [task("b.jpg")]), tmp_path / "none")
    for document in ([], [{"image_id": 1}], [1]):
        with pytest.raises(UsageError, match="Label Studio's tasks"):
            open_masks(_file(tmp_path, document))


def _file(folder, document):
    (folder / "t.json").write_text(json.dumps(document))
    return folder / "t.json"


# --- CVAT ------------------------------------------------------------------------------------------


def test_cvat_there_and_back_through_datumaro(levels, originals, tmp_path):
    datumaro = pytest.importorskip("datumaro", exc_type=ImportError)
    out = tmp_path / "o"
    export(levels, out=out, format="cvat", splits=["train", "val"])
    assert {path.name for path in out.iterdir()} == {"annotations.zip", "images", "export.json"}
    with zipfile.ZipFile(out / "annotations.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    dataset = datumaro.Dataset.import_from(str(tmp_path / "unpacked"), "voc_segmentation")
    items = {item.id: item for item in dataset}
    assert items.keys() == originals.keys()
    for name, mask in originals.items():
        read = np.zeros_like(mask)
        for annotation in items[name].annotations:
            read[annotation.image > 0] = annotation.label
        assert np.array_equal(read, category_of(mask))
    # what CVAT would hand out: the same masks, written by datumaro
    dataset.export(str(tmp_path / "theirs"), "voc_segmentation", save_media=False)
    with zipfile.ZipFile(tmp_path / "task_1.zip", "w") as archive:
        for path in sorted((tmp_path / "theirs").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "theirs"))
    for number, source in enumerate((out / "annotations.zip", tmp_path / "task_1.zip")):
        back = read_masks(source, tmp_path / f"back{number}")
        assert list(back.names.values()) == list(NAMES.values())
        found = read_folder(tmp_path / f"back{number}" / "masks")
        assert found.keys() == originals.keys()
        assert all(np.array_equal(mask, category_of(originals[name])) for name, mask in found.items())


def test_the_archive_has_the_same_bytes_at_any_time(small, tmp_path):
    root = small({"a b": PAIR, "c/d": PAIR}, TWO)
    for name in ("one", "two"):
        export(root, out=tmp_path / name, format="cvat", min_quality=0.5, low_quality="mark")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    back = read_masks(tmp_path / "one" / "annotations.zip", tmp_path / "back")
    assert (back.masks.keys(), back.names) == ({"a b", "c/d"}, TWO)


def test_archives_of_strangers(tmp_path):
    def archive(entries):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            for name, data in entries.items():
                file.writestr(name, data)
        return tmp_path / "a.zip"

    with pytest.raises(UsageError, match="leads out of the archive"):
        open_masks(archive({"../../evil.png": b"x"}))
    with pytest.raises(UsageError, match="no masks in"):
        open_masks(archive({"photo.jpg": b"x"}))
    (tmp_path / "a.zip").write_bytes(b"PK no archive")
    with pytest.raises(UsageError, match="cannot unpack"):
        open_masks(tmp_path / "a.zip")
    assert not (tmp_path.parent / "evil.png").exists()
