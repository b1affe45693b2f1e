from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation import Mapping, evaluate_pairs

from .fiftyone_helpers import NAMES, evaluate, save
from .references import blocky


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


def test_stored_evaluations_name_these_classes(masks):
    """Databases of users hold these names: they must go on leading to the classes."""
    dataset, _ = masks
    results = evaluate(dataset, "clusters", "gt", "names", replicates=0)
    room = "fiftyone_plugin.evaluation.fiftyone_evaluation"
    assert results.config.serialize()["cls"] == f"{room}.PseudoMaskEvaluationConfig"
    assert results.serialize()["cls"] == "fiftyone_plugin.evaluation.fiftyone_results.PseudoMaskResults"
    for name in ("PseudoMaskEvaluation", "PseudoMaskEvaluationConfig", "PseudoMaskResults"):
        assert hasattr(importlib.import_module(room), name)


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
