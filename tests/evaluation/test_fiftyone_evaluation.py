from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from sklearn.metrics import confusion_matrix, jaccard_score

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation import Mapping, evaluate_pairs
from fiftyone_plugin.evaluation.report import format_markdown, format_result

from .references import blocky

NAMES = {1: "sky", 2: "grass", 3: "road"}


def save(path, mask, dtype=np.uint8):
    Image.fromarray(np.asarray(mask, dtype)).save(path)
    return str(path)


def make_pair(seed, size=(48, 64)):
    """Ground truth 1, 2, 3 and a stripe of 255; clusters 11, 12, 13 (mostly right), 14, 15, unlabelled 0."""
    rng = np.random.default_rng(seed)
    true = blocky(rng, 3, size) + 1
    pred = np.where(rng.random(size) < 0.8, true + 10, rng.integers(11, 16, size))
    pred[:3] = 0
    true[:, -4:] = 255
    return pred, true


@pytest.fixture
def masks(fo, tmp_path):
    """Twelve samples with masks on disk and mask targets; the last two lack a prediction or a truth."""
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    samples, pairs = [], []
    for i in range(12):
        pred, true = make_pair(i)
        sample = fo.Sample(filepath=str(tmp_path / f"{i}.jpg"))
        if i != 10:
            sample["clusters"] = fo.Segmentation(mask_path=save(tmp_path / f"p{i}.png", pred))
        if i != 11:
            sample["gt"] = fo.Segmentation(mask_path=save(tmp_path / f"t{i}.png", true))
        samples.append(sample)
        pairs.append((pred, true))
    dataset.add_samples(samples)
    dataset.mask_targets = {"gt": NAMES}
    dataset.save()
    yield dataset, pairs[:10]
    if fo.dataset_exists(dataset.name):
        fo.delete_dataset(dataset.name)


def evaluate(*args, **kwargs):
    from fiftyone_plugin import evaluate

    return evaluate(*args, **kwargs)


def test_scores_equal_those_of_the_arrays(masks):
    dataset, pairs = masks
    ids = dataset.values("id")
    results = evaluate(dataset, "clusters", "gt", "first", replicates=50, boundary=0.01)
    data = [(id_, pred, true) for id_, (pred, true) in zip(ids, pairs, strict=False)]
    expected = evaluate_pairs(data, NAMES, ignore=[255], replicates=50, boundary=0.01)
    assert results.evaluation.scores == expected.scores
    assert results.evaluation.confidence == expected.confidence
    assert results.evaluation.images == expected.images
    assert results.mapping == expected.mapping
    assert results.evaluation.settings["left_out"] == ids[10:]
    assert results.evaluation.settings["ignore"] == "ids without a name"


def test_samples_get_their_own_scores(masks):
    dataset, pairs = masks
    results = evaluate(dataset, "clusters", "gt", "first", replicates=0)
    clusters = results.mapping.clusters
    for sample, (pred, true) in zip(dataset, pairs, strict=False):
        scored = true != 255
        named = np.vectorize(lambda k: clusters.get(k, 99))(pred[scored])
        present = np.unique(true[scored])
        assert sample["first_iou"] == pytest.approx(
            jaccard_score(true[scored], named, labels=present, average="macro")
        )
        assert sample["first_accuracy"] == pytest.approx((named == true[scored]).mean())
        assert sample["first_coverage"] == pytest.approx((pred[scored] != 0).mean())
    assert dataset.values("first_iou")[10:] == [None, None]


def test_confusion_equals_scikit_learn_exactly(masks):
    dataset, pairs = masks
    results = evaluate(dataset, "clusters", "gt", replicates=0)
    clusters = results.mapping.clusters
    pred = np.concatenate([p[t != 255] for p, t in pairs])
    true = np.concatenate([t[t != 255] for _, t in pairs])
    named = np.vectorize(lambda k: clusters.get(k, 99))(pred)
    expected = confusion_matrix(true, named, labels=[1, 2, 3, 99])
    assert list(results.classes) == ["sky", "grass", "road", "(none)"]
    np.testing.assert_array_equal(results.pixel_confusion_matrix, expected)
    # what FiftyOne draws comes from the matches
    np.testing.assert_array_equal(results.confusion_matrix(classes=[*NAMES.values(), "(none)"]), expected)


def test_the_same_confusion_as_fiftyone_where_both_apply(fo, masks, tmp_path):
    dataset, pairs = masks
    view = dataset.limit(10)
    mapping = Mapping({11: 1, 12: 2, 13: 3}, "majority")
    paths = [save(tmp_path / f"n{i}.png", mapping.apply_to_mask(pred)) for i, (pred, _) in enumerate(pairs)]
    view.set_values("named", [fo.Segmentation(mask_path=path) for path in paths])
    theirs = view.evaluate_segmentations("named", "gt", eval_key="theirs", mask_targets={0: "none", **NAMES})
    ours = evaluate(view, "named", "gt", "ours", "identity", replicates=0)
    # FiftyOne puts its background first, here it is last
    np.testing.assert_array_equal(
        ours.pixel_confusion_matrix[:3], np.roll(theirs.pixel_confusion_matrix[1:], -1, axis=1)
    )
    assert ours.report()["macro avg"] == pytest.approx(theirs.report()["macro avg"])
    assert view.values("ours_accuracy") == pytest.approx(view.values("theirs_accuracy"))


def test_an_evaluation_is_listed_loaded_renamed_and_deleted(fo, masks):
    dataset, _ = masks
    view = dataset.limit(5)
    results = evaluate(view, "clusters", "gt", "first", replicates=20)
    assert dataset.list_evaluations(type="segmentation", method="pseudomask") == ["first"]
    assert dataset.get_evaluation_info("first").config.protocol == "iou-hungarian"
    assert dataset.load_evaluation_view("first").values("id") == view.values("id")
    assert [f for f in dataset.get_field_schema() if f.startswith("first_")] == [
        "first_iou",
        "first_accuracy",
        "first_coverage",
    ]
    dataset.rename_evaluation("first", "second")
    assert dataset.limit(1).values("second_iou") == [results.evaluation.images["iou"][0]]
    dataset.clear_cache()
    loaded = dataset.load_evaluation_results("second")
    assert loaded is not results
    assert loaded.evaluation.to_dict() == results.evaluation.to_dict()
    assert loaded.mapping == results.mapping
    assert loaded.metrics() == pytest.approx(results.metrics())
    for name in ("ytrue", "ypred", "weights", "ytrue_ids", "ypred_ids", "classes"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(results, name))
    dataset.delete_evaluation("second")
    assert dataset.list_evaluations() == []
    assert not [f for f in dataset.get_field_schema() if f.startswith(("first_", "second_"))]


@pytest.mark.parametrize(
    "protocol", ["majority", "unmatched-background", "alignseg_per_image", "datus_drop", "foreground"]
)
def test_every_protocol_is_stored_and_loaded(masks, protocol):
    dataset, _ = masks
    results = evaluate(dataset, "clusters", "gt", "e", protocol, background=1, replicates=10)
    dataset.clear_cache()
    loaded = dataset.load_evaluation_results("e")
    assert loaded.evaluation.to_dict() == results.evaluation.to_dict()
    np.testing.assert_array_equal(loaded.pixel_confusion_matrix, results.pixel_confusion_matrix)
    for name in ("iou", "accuracy", "coverage"):
        assert dataset.values(f"e_{name}")[:10] == results.evaluation.images[name]


def test_scores_are_among_the_metrics_of_the_results(masks):
    dataset, _ = masks
    results = evaluate(dataset, "clusters", "gt", "e", replicates=0)
    metrics = results.metrics()
    scores = results.evaluation.scores
    assert metrics["accuracy"] == pytest.approx(scores["pixel_accuracy"])
    assert (metrics["miou"], metrics["ari"]) == (scores["miou"], scores["ari"])
    assert all(not value["lower_is_better"] for value in results.custom_metrics.values())


def test_without_this_package_fiftyone_reads_what_is_stored(fo, masks):
    dataset, _ = masks
    results = evaluate(dataset, "clusters", "gt", "e", replicates=0)
    dataset.persistent = True
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fiftyone_plugin":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
import json
import fiftyone as fo
dataset = fo.load_dataset({dataset.name!r})
info = dataset.get_evaluation_info("e")
results = dataset.load_evaluation_results("e")
metrics = results.metrics()
matrix = results.pixel_confusion_matrix.tolist()
dataset.delete_evaluation("e")
found = [type(info.config).__name__, type(results).__name__, metrics["accuracy"], metrics["miou"], matrix]
print(json.dumps([*found, dataset.list_evaluations()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    config, kind, accuracy, miou, matrix, left = json.loads(done.stdout.splitlines()[-1])
    assert (config, kind) == ("SegmentationEvaluationConfig", "SegmentationResults")
    assert accuracy == pytest.approx(results.evaluation.scores["pixel_accuracy"])
    assert miou == results.evaluation.scores["miou"]
    assert matrix == results.pixel_confusion_matrix.tolist()
    assert left == []


def test_two_kilobytes_an_image_are_plenty(fo, masks, tmp_path):
    """27 classes, 200 clusters, ragged blocks: about 700 pairs of ids meet in every image."""
    dataset, _ = masks
    dataset.clear()
    rng = np.random.default_rng(0)
    samples = []
    for i in range(20):
        true, pred = blocky(rng, 27, (480, 640), 32) + 1, blocky(rng, 200, (480, 640), 40) + 1
        sample = fo.Sample(filepath=str(tmp_path / f"big{i}.jpg"))
        sample["gt"] = fo.Segmentation(mask_path=save(tmp_path / f"bt{i}.png", true))
        sample["clusters"] = fo.Segmentation(mask_path=save(tmp_path / f"bp{i}.png", pred))
        samples.append(sample)
    dataset.add_samples(samples)
    results = evaluate(dataset, "clusters", "gt", "big", classes=[str(i) for i in range(28)], replicates=100)
    assert len(results._mapped.images.cells[0]) / 20 > 600
    assert stored_bytes(dataset, "big") / 20 <= 2048
    dataset.clear_cache()
    assert dataset.load_evaluation_results("big").evaluation.scores == results.evaluation.scores


def stored_bytes(dataset, key) -> int:
    document = dataset._doc.evaluations[key]
    document.results.seek(0)
    return len(document.results.read())


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


def test_a_mapping_learnt_on_one_view_serves_another(masks):
    dataset, _ = masks
    train = evaluate(dataset[:5], "clusters", "gt", "train", replicates=0)
    test = evaluate(dataset[5:10], "clusters", "gt", "test", mapping=train.mapping, replicates=0)
    assert test.mapping == train.mapping
    assert test.evaluation.settings["mapping"] == "given"
    assert test.evaluation.n_images == 5


def test_worst_samples_are_ids(masks):
    dataset, _ = masks
    results = evaluate(dataset, "clusters", "gt", "e", replicates=0)
    worst = results.evaluation.worst(3)
    assert worst == dataset.exists("e_iou").sort_by("e_iou").limit(3).values("id")


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


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pred_field": "gone"}, ValueError, "gone"),
        ({"protocol": "best"}, UsageError, "unknown protocol"),
        ({"eval_key": "not a key"}, ValueError, "valid variable names"),
        ({"ignore": [1, 2, 3, 255]}, UsageError, "nothing to score"),
        ({"ignore": []}, UsageError, r"ids \[255\] that the classes do not name"),
    ],
)
def test_mistakes_are_said(masks, arguments, error, message):
    dataset, _ = masks
    with pytest.raises(error, match=message):
        evaluate(
            **{"samples": dataset, "pred_field": "clusters", "gt_field": "gt", "eval_key": "e", **arguments}
        )
    assert dataset.list_evaluations() == []


def test_fiftyones_own_call_takes_the_method_too(masks):
    from fiftyone_plugin.evaluation.fiftyone_evaluation import PseudoMaskEvaluationConfig

    dataset, _ = masks
    ours = evaluate(dataset, "clusters", "gt", replicates=0)
    theirs = dataset.evaluate_segmentations(
        "clusters", "gt", eval_key="e", method=PseudoMaskEvaluationConfig, replicates=0
    )
    assert theirs.evaluation.scores == ours.evaluation.scores
    assert dataset.count("e_iou") == 10


def test_two_classes_of_one_name_stay_apart(masks):
    dataset, _ = masks
    results = evaluate(dataset, "clusters", "gt", classes={1: "thing", 2: "thing", 3: "road"}, replicates=0)
    assert list(results.classes) == ["thing (1)", "thing (2)", "road", "(none)"]


# --- names -----------------------------------------------------------------------------------------


def test_clusters_show_class_names_and_the_original_stays(masks):
    from fiftyone_plugin.dataset.naming import apply_mapping

    dataset, _ = masks
    dataset.mask_targets["clusters"] = {11: "cluster 11", 14: "cluster 14", 15: "cluster 15"}
    dataset.save()
    before = dataset.values("clusters.mask_path")
    results = evaluate(dataset, "clusters", "gt", "e", replicates=0)
    assert apply_mapping(dataset, "clusters", results.mapping) == "clusters_named"
    dataset.reload()
    assert dataset.mask_targets["clusters_named"] == {
        11: "sky",
        12: "grass",
        13: "road",
        14: "cluster 14 (no class)",
        15: "cluster 15 (no class)",
    }
    assert dataset.values("clusters_named.mask_path") == before == dataset.values("clusters.mask_path")
    assert dataset.mask_targets["clusters"] == {11: "cluster 11", 14: "cluster 14", 15: "cluster 15"}
    # again, with another mapping: replaced
    apply_mapping(dataset, "clusters", Mapping({11: 5}, "majority", names={5: "boat"}))
    assert dataset.mask_targets["clusters_named"][11] == "boat"


def test_masks_of_class_ids_are_written_when_asked_for(masks, tmp_path):
    from fiftyone_plugin.dataset.naming import apply_mapping

    dataset, pairs = masks
    results = evaluate(dataset, "clusters", "gt", "e", replicates=0)
    apply_mapping(dataset, "clusters", results.mapping, "classes", output_dir=tmp_path / "named")
    for sample, (pred, _) in zip(dataset, pairs, strict=False):
        np.testing.assert_array_equal(sample.classes.get_mask(), results.mapping.apply_to_mask(pred))
        assert sample.clusters.get_mask().max() > 3
    assert dataset.mask_targets["classes"] == NAMES
    again = evaluate(dataset, "classes", "gt", protocol="identity", replicates=0)
    assert again.evaluation.scores["miou"] == pytest.approx(results.evaluation.scores["miou"])


def test_a_field_of_somebody_else_is_not_overwritten(masks):
    from fiftyone_plugin.dataset.naming import apply_mapping

    dataset, _ = masks
    before = dataset.values("gt.mask_path")
    for taken in ("gt", "clusters"):
        with pytest.raises(UsageError, match="take another name"):
            apply_mapping(dataset, "clusters", Mapping({11: 1}, "majority"), taken)
    assert dataset.values("gt.mask_path") == before


# --- metrics ---------------------------------------------------------------------------------------


def test_metrics_of_fiftyones_own_results(masks):
    from fiftyone_plugin.evaluation.fiftyone_metrics import METRICS, score_of

    dataset, pairs = masks
    clusters = {0: "background", 11: "sky", 12: "grass", 13: "road"}
    dataset.clone_sample_field("clusters", "other")
    view = dataset.limit(10)
    results = view.evaluate_segmentations("clusters", "other", eval_key="e", mask_targets=clusters)
    found = {metric.name: score_of(metric, results) for metric in METRICS}
    assert found["miou"] == found["fwiou"] == found["macro_f1"] == found["mean_class_accuracy"] == 1
    assert found["corloc"] is None
    true = np.concatenate([t.ravel() + 10 for _, t in pairs])
    pred = np.concatenate([p.ravel() for p, _ in pairs])
    keep = np.isin(true, [11, 12, 13]) & np.isin(pred, list(clusters))
    results.pixel_confusion_matrix = confusion_matrix(true[keep], pred[keep], labels=list(clusters))
    expected = jaccard_score(true[keep], pred[keep], labels=[11, 12, 13], average="macro")
    assert score_of(METRICS[0], results) == pytest.approx(expected)
    assert not math.isnan(expected)
