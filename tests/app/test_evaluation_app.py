"""The evaluation in the real App: the form's one click, and the Model Evaluation panel."""

from __future__ import annotations

import uuid

import numpy as np
import pytest

from .driving import call, click, close, execute, open_dataset, open_panel, picture

PANEL = "model_evaluation_panel_builtin"
NAMES = {"night": 1, "dusk": 2, "dawn": 3, "day": 4}


@pytest.fixture
def labelled(fo, photos, tmp_path):
    """The photographs; four brightness levels as truth, five slightly wrong clusters as prediction."""
    from PIL import Image

    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    rng = np.random.default_rng(0)
    for path in sorted(photos.iterdir()):
        grey = np.asarray(Image.open(path).convert("L")).astype(float)
        true = np.digitize(grey, [64, 128, 192]) + 1
        pred = np.digitize(grey + rng.normal(0, 12, grey.shape), [60, 120, 190, 240]) + 11
        pred[:20] = 0
        sample = fo.Sample(filepath=str(path))
        for field, mask in (("ground_truth", true), ("pseudo_mask", pred)):
            file = tmp_path / f"{path.stem}_{field}.png"
            Image.fromarray(mask.astype(np.uint8)).save(file)
            sample[field] = fo.Segmentation(mask_path=str(file))
        dataset.add_sample(sample)
    dataset.mask_targets = {
        "ground_truth": {id_: name for name, id_ in NAMES.items()},
        "pseudo_mask": {i: f"cluster {i}" for i in range(11, 16)},
    }
    dataset.save()
    yield dataset
    fo.delete_dataset(dataset.name)


def test_an_evaluation_opens_in_the_model_evaluation_panel(labelled, page):
    from fiftyone_plugin import evaluate

    scores = evaluate(labelled, "pseudo_mask", "ground_truth", "eval_pseudo_mask").evaluation.scores
    open_dataset(page, labelled)
    panel = open_panel(page, PANEL)
    click(panel.get_by_text("eval_pseudo_mask").first, panel.get_by_text("Adjusted Rand index"))
    picture(page, "evaluation_panel")
    row = panel.locator("tr", has=page.get_by_text("mIoU", exact=True))
    assert f"{scores['miou']:.3f}" in row.inner_text()
    click(panel.get_by_text("Confusion Matrices"), panel.locator(".js-plotly-plot").last, stays=True)
    picture(page, "evaluation_confusion")
    shown = panel.inner_text()
    for name in ("night", "dusk", "dawn", "day", "(none)"):
        assert name in shown


def test_the_form_works_in_one_click(labelled, page):
    open_dataset(page, labelled)
    call(page, "Evaluate masks against", "the headline")
    picture(page, "evaluation_form")
    execute(page, "frequency-weighted IoU")  # the scores are shown, and behind them the panel is open
    picture(page, "evaluation_output")
    close(page)
    page.locator(f"[data-cy=panel-content-{PANEL}]").get_by_text("eval_pseudo_mask").first.wait_for()
    labelled.reload()
    assert labelled.list_evaluations() == ["eval_pseudo_mask"]
    assert labelled.count("eval_pseudo_mask_iou") == len(labelled)


def test_cells_of_the_confusion_matrix_lead_to_their_samples(labelled):
    """What the panel asks of the results when a cell, a class, or "false negatives" is clicked."""
    from plugins.panels import model_evaluation as panel

    from fiftyone_plugin import evaluate

    evaluate(labelled, "pseudo_mask", "ground_truth", "e", replicates=0)
    labelled.clear_cache()
    results = labelled.load_evaluation_results("e")
    panel._init_segmentation_results(labelled, results, "ground_truth")
    ids = [str(i) for i in panel._get_segmentation_tp_fp_fn_ids(results, "fn")[0]]
    # the upper rows of every prediction are unlabelled
    assert set(ids) == set(labelled.values("ground_truth.id"))
    for true, pred in (("night", "night"), ("night", "day"), ("day", "night")):
        found = {str(i) for i in panel._get_segmentation_conf_mat_ids(results, pred, true)[0]}
        counts = [
            int(np.isin(s.pseudo_mask.get_mask(), cluster)[s.ground_truth.get_mask() == id_].sum())
            for s in labelled
            for id_, cluster in [(NAMES[true], clusters_of(results, NAMES[pred]))]
        ]
        expected = {s.ground_truth.id for s, n in zip(labelled, counts, strict=True) if n}
        assert found == expected


def clusters_of(results, class_id):
    return [k for k, c in results.mapping.clusters.items() if c == class_id]
