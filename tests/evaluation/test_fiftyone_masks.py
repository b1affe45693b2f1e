from __future__ import annotations

import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation import evaluate_pairs
from fiftyone_plugin.evaluation.report import format_markdown, format_result

from .fiftyone_helpers import NAMES, evaluate, make_pair, save


def test_masks_in_the_database_in_colour_and_in_palette_files(fo, tmp_path, masks):
    dataset, _ = masks
    dataset.clear()
    pred, true = make_pair(0)
    colours = np.zeros((*true.shape, 3), np.uint8)
    palette = Image.fromarray(true.astype(np.uint8)).convert("P")
    palette.putdata(true.ravel().tolist())
    palette.putpalette([(7 * i) % 256 for i in range(768)])
    palette.save(tmp_path / "palette.png")
    for id_ in (1, 2, 3):
        colours[true == id_] = (0, 0, id_)
    colours[true == 255] = (0, 0, 255)
    for kind in (
        {"mask": true.astype(np.uint8)},
        {"mask_path": str(tmp_path / "palette.png")},
        {"mask_path": save(tmp_path / "colour.png", colours)},
        {"mask": true.astype(np.uint16)},
    ):
        dataset.clear()
        sample = fo.Sample(filepath=str(tmp_path / "x.jpg"), gt=fo.Segmentation(**kind))
        sample["clusters"] = fo.Segmentation(mask=pred.astype(np.uint8))
        dataset.add_sample(sample)
        scores = evaluate(dataset, "clusters", "gt", replicates=0).evaluation.scores
        assert scores == evaluate_pairs([("x", pred, true)], NAMES, ignore=[255], replicates=0).scores


@pytest.mark.parametrize("kind", ["palette", "colours", "grey", "one bit", "white bit"])
def test_what_pixels_mean_depends_on_the_mask_targets(fo, masks, tmp_path, kind):
    """The same two classes in files of every kind, under the targets that FiftyOne's App needs for them."""
    dataset, _ = masks
    dataset.clear()
    true = np.zeros((6, 8), np.uint8)
    true[:, 5:] = 1
    rgb = [(128, 0, 0), (0, 128, 0)]
    if kind == "palette":
        image, targets = Image.fromarray(true), {"#800000": "a", "#008000": "b"}
        image.putpalette([*rgb[0], *rgb[1]])
    elif kind == "colours":
        image, targets = Image.fromarray(np.array(rgb, np.uint8)[true]), {"#800000": "a", "#008000": "b"}
    elif kind == "grey":
        image, targets = Image.fromarray(true * 128), {"#000000": "a", "#808080": "b", "#ff0000": "c"}
    else:
        image, targets = Image.fromarray(true > 0), {0: "a", 1 if kind == "one bit" else 255: "b"}
    image.save(tmp_path / "m.png")
    label = fo.Segmentation(mask_path=str(tmp_path / "m.png"))
    sample = fo.Sample(filepath=str(tmp_path / "x.jpg"), gt=label)
    sample["clusters"] = fo.Segmentation(mask=true + 7)
    dataset.add_sample(sample)
    dataset.mask_targets = {"gt": targets}
    result = evaluate(dataset, "clusters", "gt", replicates=0).evaluation
    assert (result.n_pixels, result.unnamed, result.scores["miou"]) == (48, {}, 1.0)
    assert {row["name"]: row["pixels"] for row in result.per_class if row["pixels"]} == {"a": 30, "b": 18}


def test_a_photograph_among_the_masks_is_left_out(fo, masks, tmp_path):
    dataset, _ = masks
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    sample = dataset.first()
    sample["gt"] = fo.Segmentation(mask_path=save(tmp_path / "photo.png", noise))
    sample["clusters"] = fo.Segmentation(mask=np.ones((100, 100), np.uint8))
    sample.save()
    dataset.mask_targets = {}
    results = evaluate(dataset, "clusters", "gt", replicates=0)
    assert results.evaluation.n_images == 9
    assert "too many for classes: are these photographs" in results.skipped[0].reason


def test_nothing_is_written_when_masks_cannot_be_compared(fo, masks, tmp_path):
    dataset, _ = masks
    evaluate(dataset, "clusters", "gt", "e", replicates=0)
    before = dataset.values("e_iou")
    small = fo.Segmentation(mask_path=save(tmp_path / "small.png", np.ones((2, 3))))
    dataset.set_values("clusters", [small.copy() for _ in range(12)])
    with pytest.raises(UsageError, match=r"0\.jpg: the prediction is 2x3 .* 48x64.*, and 10 more"):
        evaluate(dataset, "clusters", "gt", "e")
    assert dataset.values("e_iou") == before
    assert dataset.load_evaluation_results("e") is not None
    assert evaluate(dataset, "clusters", "gt", "e", resize=True, replicates=0).evaluation.n_images == 11


def test_masks_that_do_not_fit_are_left_out_and_listed(fo, masks, tmp_path):
    dataset, pairs = masks
    ids, paths = dataset.values(["id", "filepath"])
    true = pairs[0][1].astype(np.uint8)
    damaged = tmp_path / "damaged.png"
    Image.fromarray(true).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:60])
    Image.fromarray(true).save(tmp_path / "lossy.png", format="JPEG", quality=90)
    # sample -> field, mask, reason; negative ids and floats of the database as well
    bad = {
        0: (
            "gt",
            {"mask_path": "/nowhere/mask.png"},
            "/nowhere/mask.png: cannot be read as a mask (no such file)",
        ),
        2: ("gt", {"mask_path": str(damaged)}, "truncated"),
        3: ("clusters", {"mask_path": save(tmp_path / "s.png", np.ones((2, 3)))}, "the prediction is 2x3"),
        4: ("gt", {"mask_path": str(tmp_path / "lossy.png")}, "JPEG changes ids"),
        5: ("gt", {"mask": true.astype(np.int16) - 9}, "they are -8 to 246"),
        6: ("clusters", {"mask": true / 2}, "got float64 of shape"),
    }
    for i, (field, kind, _) in bad.items():
        sample = dataset[ids[i]]
        sample[field] = fo.Segmentation(**kind)
        sample.save()
    results = evaluate(dataset, "clusters", "gt", "e", replicates=0)
    good = [i for i in range(10) if i not in bad]
    expected = evaluate_pairs([(ids[i], *pairs[i]) for i in good], NAMES, ignore=[255], replicates=0)
    assert results.evaluation.scores == expected.scores
    assert [entry.key for entry in results.skipped] == [paths[i] for i in bad]
    for entry, (_, _, reason) in zip(results.skipped, bad.values(), strict=True):
        assert reason in entry.reason
    # also those that only lack a mask
    assert results.evaluation.settings["left_out"] == [ids[i] for i in (*bad, 10, 11)]
    assert [value is not None for value in dataset.values("e_iou")] == [i in good for i in range(12)]
    dataset.clear_cache()
    assert dataset.load_evaluation_results("e").skipped == results.skipped
    text = format_markdown(results.evaluation)
    assert "6 images left out, with masks that cannot be compared" in text
    assert "JPEG changes ids" in text


def test_pixels_without_a_name_are_counted_and_named(fo, masks, tmp_path):
    dataset, pairs = masks
    true = pairs[1][1].copy()
    true[:2, :5] = 41
    true[5, 5] = 300
    sample = dataset.skip(1).first()
    sample["gt"] = fo.Segmentation(mask_path=save(tmp_path / "odd.png", true, np.uint16))
    sample.save()
    stripe = 10 * 48 * 4
    for options in ({}, {"boundary": 0.01}):
        result = evaluate(dataset, "clusters", "gt", "e", replicates=0, **options).evaluation
        assert result.unnamed == {255: stripe, 41: 10, 300: 1}
        assert result.n_pixels == 10 * 48 * 64 - stripe - 11
        assert "without a name take no part: 41, 255, 300 (1,931 pixels in 10 images)" in format_result(
            result
        )
    dataset.clear_cache()
    assert dataset.load_evaluation_results("e").evaluation.unnamed == result.unnamed
    with pytest.raises(UsageError, match=r"no id of the ground truth has a name \(1, 2, 3, 41, 255, 300\)"):
        evaluate(dataset, "clusters", "gt", classes={9: "sea"})


@settings(max_examples=25)
@given(data=st.data())
def test_the_mask_is_the_one_that_fiftyone_shows(fo, data):
    from fiftyone_plugin.masks.files import load_mask

    on_disk, in_database = data.draw(hnp.arrays(np.uint8, (2, 4, 5)))
    has_path, has_mask = data.draw(st.booleans()), data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        path = save(f"{folder}/m.png", on_disk) if has_path else None
        label = fo.Segmentation(mask=in_database if has_mask else None, mask_path=path)
        mask, shown = load_mask(label.mask_path, label.mask), label.get_mask()
    assert (mask is None) == (shown is None)
    if shown is not None:
        np.testing.assert_array_equal(mask, shown)


def test_masks_in_the_database_beside_files(fo, masks):
    dataset, pairs = masks
    before = evaluate(dataset, "clusters", "gt", replicates=0)
    sample = dataset.skip(2).first()
    sample["clusters"].mask = pairs[2][1].astype(np.uint8)  # an edit that is not on disk yet
    sample.save()
    edited = [*pairs[:2], (pairs[2][1], pairs[2][1]), *pairs[3:]]
    expected = evaluate_pairs([(str(i), *pair) for i, pair in enumerate(edited)], NAMES, [255], replicates=0)
    result = evaluate(dataset, "clusters", "gt", replicates=0)
    assert result.evaluation.scores == expected.scores != before.evaluation.scores
    # and in a view that comes in another order
    turned = evaluate(dataset.sort_by("filepath", reverse=True), "clusters", "gt", replicates=0)
    assert turned.evaluation.scores["miou"] == pytest.approx(expected.scores["miou"])
