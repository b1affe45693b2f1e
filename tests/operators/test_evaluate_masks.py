from __future__ import annotations

import uuid

import numpy as np
import pytest

from fiftyone_plugin._version import PLUGIN_NAME

URI = f"{PLUGIN_NAME}/evaluate_masks"


@pytest.fixture
def operator(foo):
    return foo.get_operator(URI)


@pytest.fixture
def masks(fo, tmp_path):
    """Six samples: ground truth of classes 1 and 2, clusters 5 and 6 that match them, unlabelled pixels."""
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    for i in range(6):
        true = np.ones((20, 30), np.uint8)
        true[:, 10 + i :] = 2
        pred = np.where(true == 1, 5, 6).astype(np.uint8)
        pred[: i + 1] = 0
        dataset.add_sample(
            fo.Sample(
                filepath=str(tmp_path / f"{i}.jpg"),
                ground_truth=fo.Segmentation(mask=true),
                pseudo_mask=fo.Segmentation(mask=pred),
            )
        )
    dataset.mask_targets = {"ground_truth": {1: "sky", 2: "sea"}}
    dataset.save()
    yield dataset
    fo.delete_dataset(dataset.name)


def defaults(properties):
    return {name: prop.default for name, prop in properties.items() if prop.default is not None}


def refused(properties):
    return {name: prop.error_message for name, prop in properties.items() if prop.invalid}


def test_the_defaults_of_the_form_work_as_they_are(form, foo, masks):
    properties = form(URI, masks)
    values = defaults(properties)
    assert (values["pred_field"], values["gt_field"]) == ("pseudo_mask", "ground_truth")
    assert (values["protocol"], values["eval_key"]) == ("iou-hungarian", "eval_pseudo_mask")
    assert refused(properties) == {}
    foo.execute_operator(URI, {"dataset": masks, "params": values})
    assert masks.list_evaluations() == ["eval_pseudo_mask"]
    results = masks.load_evaluation_results("eval_pseudo_mask")
    assert results.mapping.clusters == {5: 1, 6: 2}
    # rows of unlabelled pixels are all that is wrong
    assert masks.values("eval_pseudo_mask_accuracy") == pytest.approx([1 - (i + 1) / 20 for i in range(6)])
    assert "pseudo_mask_named" not in masks.get_field_schema()


def test_without_any_parameter_the_same_is_done(foo, masks):
    foo.execute_operator(URI, {"dataset": masks, "params": {}})
    assert masks.list_evaluations() == ["eval_pseudo_mask"]


def test_a_view_is_evaluated_and_classes_are_renamed(foo, operator, masks):
    result = operator(
        masks.limit(3), "pseudo_mask", "ground_truth", "first", protocol="majority", rename=True
    )
    assert result.error is None
    masks.reload()
    assert masks.load_evaluation_results("first").evaluation.n_images == 3
    assert masks.mask_targets["pseudo_mask_named"] == {5: "sky", 6: "sea"}
    assert masks.count("pseudo_mask_named") == 3


def test_every_protocol_is_explained_in_the_form(form, masks):
    from fiftyone_plugin.common.text import plain_markdown
    from fiftyone_plugin.evaluation import PROTOCOLS

    choices = {choice.value: choice.description for choice in form(URI, masks)["protocol"].view.choices}
    assert choices == {name: protocol.explanation for name, protocol in PROTOCOLS.items()}
    shown = form(URI, masks, protocol="majority")["protocol"].view.description
    assert shown == plain_markdown(PROTOCOLS["majority"].explanation)


def test_options_reach_the_evaluation(foo, masks):
    params = {"ignore": "2, 255", "zero_is_class": True, "boundary": True, "resize": True, "eval_key": "e"}
    foo.execute_operator(URI, {"dataset": masks, "params": params})
    evaluation = masks.load_evaluation_results("e").evaluation
    assert evaluation.settings["ignore"] == [2, 255]
    assert evaluation.settings["unlabelled"] is None
    assert "boundary_f" in evaluation.scores
    assert [entry["name"] for entry in evaluation.per_class] == ["sky"]


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"pred_field": "ground_truth", "gt_field": "ground_truth"}, "gt_field", "choose another one"),
        ({"eval_key": "2nd"}, "eval_key", "letters, digits"),
        ({"eval_key": "taken"}, "eval_key", "choose another name"),
        ({"ignore": "all"}, "ignore", "whole numbers"),
    ],
)
def test_what_would_be_refused_is_said_in_the_form(form, operator, masks, params, field, message):
    operator(masks, "pseudo_mask", "ground_truth", "taken")
    found = refused(form(URI, masks, **params))
    assert list(found) == [field]
    assert message in found[field]


def test_a_taken_name_is_not_proposed_again(form, operator, masks):
    for expected in ("eval_pseudo_mask", "eval_pseudo_mask_2", "eval_pseudo_mask_3"):
        assert defaults(form(URI, masks))["eval_key"] == expected
        operator(masks, "pseudo_mask", "ground_truth", expected)


def test_one_field_is_not_enough(form, foo, dataset, fo):
    dataset.add_sample_field("gt", fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    properties = form(URI, dataset)
    assert properties["nothing"].view.label == refused(properties)["pred_field"]
    with pytest.raises(Exception, match="two segmentation fields are needed"):
        foo.execute_operator(URI, {"dataset": dataset, "params": {}})


@pytest.mark.parametrize(
    ("names", "targets", "runs", "expected"),
    [
        (["pseudo_mask", "ground_truth"], [], [], ("pseudo_mask", "ground_truth")),
        (["gt", "other"], [], [], ("other", "gt")),
        (["a", "b"], ["b"], [], ("a", "b")),
        (["a", "b"], ["a", "b"], ["a"], ("a", "b")),
        (["a", "b", "c"], ["c"], ["b"], ("b", "c")),
        (["a", "b"], [], [], ("b", "a")),
    ],
)
def test_fields_are_guessed(fo, dataset, module, names, targets, runs, expected):
    for name in names:
        dataset.add_sample_field(name, fo.EmbeddedDocumentField, embedded_doc_type=fo.Segmentation)
    dataset.mask_targets = {name: {1: "x"} for name in targets}
    for name in runs:
        dataset.register_run(f"pseudomask_{name}", dataset.init_run())
    assert module.segmentation_fields(dataset) == names
    assert module.guess_fields(dataset, names) == expected


def test_a_delegated_run_does_the_same(foo, masks):
    from fiftyone.operators.delegated import DelegatedOperationService

    foo.execute_operator(URI, {"dataset": masks, "params": {"eval_key": "e"}}, request_delegation=True)
    service = DelegatedOperationService()
    service.execute_queued_operations(dataset_name=masks.name)
    (operation,) = service.list_operations(dataset_name=masks.name)
    assert operation.run_state == "completed"
    assert operation.result.result["eval_key"] == "e"
    assert "| mIoU |" in operation.result.result["report"]
    masks.reload()
    assert masks.list_evaluations() == ["e"]


# --- metrics ---------------------------------------------------------------------------------------


def test_metrics_are_registered_for_segmentations(foo):
    from fiftyone_plugin.evaluation.fiftyone_metrics import METRICS

    for metric in METRICS:
        config = foo.get_operator(metric.uri).config
        assert config.eval_types == ["segmentation"]
        assert config.label == metric.label


def test_metrics_join_fiftyones_own_evaluation(masks):
    from fiftyone_plugin.evaluation import evaluate
    from fiftyone_plugin.evaluation.fiftyone_metrics import METRICS

    named = {0: "none", 5: "sky", 6: "sea"}
    masks.clone_sample_field("pseudo_mask", "again")
    uris = [metric.uri for metric in METRICS]
    results = masks.evaluate_segmentations(
        "again", "pseudo_mask", eval_key="theirs", mask_targets=named, custom_metrics=uris
    )
    assert results.metrics()["miou"] == 1
    assert "corloc" not in results.metrics()
    assert results.custom_metrics[METRICS[0].uri]["lower_is_better"] is False
    ours = evaluate(masks, "pseudo_mask", "ground_truth", "foreground", "foreground", replicates=0)
    before = dict(ours.custom_metrics)
    ours.add_custom_metrics([metric.uri for metric in METRICS])
    assert ours.custom_metrics == before
    assert before[f"{PLUGIN_NAME}/mae"]["lower_is_better"] is True
