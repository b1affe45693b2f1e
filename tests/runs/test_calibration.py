from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.isotonic import IsotonicRegression

from fiftyone_plugin import cli
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.masks.files import write_mask
from fiftyone_plugin.runs.calibration import QualityCalibration, filtering_curve
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.samples import SampleRow


@given(st.integers(10, 60), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_it_is_isotonic_regression_and_survives_a_file(tmp_path_factory, n, seed):
    rng = np.random.default_rng(seed)
    quality, iou = rng.random(n + 1), rng.random(n + 1)
    iou[0] = np.nan
    found = QualityCalibration.fit(quality, iou)
    assert found.n_images == n
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(quality[1:], iou[1:])
    at = np.linspace(-0.2, 1.2, 50)
    np.testing.assert_allclose(found.predict(at), theirs.predict(at))
    assert np.all(np.diff(found.predict(at)) >= 0)
    path = tmp_path_factory.mktemp("c") / "calibration.json"
    found.save(path)
    np.testing.assert_array_equal(QualityCalibration.load(path).predict(at), found.predict(at))


def test_what_is_no_calibration_is_said(tmp_path):
    with pytest.raises(UsageError, match="at least 10 images, 9 have it"):
        QualityCalibration.fit(np.arange(12), np.array([np.nan] * 3 + [0.5] * 9))
    (tmp_path / "a.json").write_text(json.dumps({"format": 9}))
    for name in ("a.json", "b.json"):
        with pytest.raises(UsageError, match="holds no calibration"):
            QualityCalibration.load(tmp_path / name)


@given(st.integers(1, 30), st.integers(0, 999))
@settings(max_examples=40)
def test_filtering_against_a_loop(n, seed):
    rng = np.random.default_rng(seed)
    quality, iou = rng.permutation(n) / n, rng.random(n)
    ranked = [value for _, value in sorted(zip(quality, iou, strict=True), reverse=True)]
    for share, found in zip((1.0, 0.5, 0.01), filtering_curve(quality, iou, (1.0, 0.5, 0.01)), strict=True):
        count = max(1, round(share * n))
        assert found == pytest.approx(sum(ranked[:count]) / count)


def test_a_run_is_calibrated_by_the_ground_truth_of_some_of_its_images(tmp_path, capsys):
    """The better the mask the higher its quality, and images without ground truth get an estimate too."""
    run, truth = RunDirectory(tmp_path / "run"), tmp_path / "gt"
    rows = []
    for i in range(16):
        mask = np.ones((16, 16), np.uint8)
        mask[:, 8:] = 2
        if i < 12:
            (truth / "a").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(truth / "a" / f"{i}.png")
        wrong = i % 6
        mask[:, :wrong] = 2
        write_mask(run.masks / "a" / f"{i}.png", mask)
        rows.append(SampleRow(f"a/{i}.jpg", f"a/{i}.png", quality=1 - wrong / 10, classes=(1, 2)))
    rows.append(SampleRow("broken.jpg", status="skipped", error="empty file"))
    run.write_samples(rows)
    assert cli.main(["evaluate", str(run.root), str(truth), "--calibrate"]) == 3  # some have no ground truth
    out = capsys.readouterr().out
    assert "calibrated on 12 of 16 images" in out
    assert "20 images would say what it is at least" in out
    with (run.root / "expected_iou.csv").open(newline="") as file:
        table = {row["image"]: row for row in csv.DictReader(file)}
    assert set(table) == {f"a/{i}.jpg" for i in range(16)}
    for row in list(table.values())[:12]:
        assert float(row["expected_iou"]) == pytest.approx(float(row["true_iou"]), abs=1e-4)
    assert table["a/12.jpg"]["true_iou"] == table["a/12.jpg"]["iou_at_least_90%"] == ""
    assert table["a/12.jpg"]["expected_iou"] == table["a/0.jpg"]["expected_iou"]
    with Image.open(run.root / "filtering.png") as picture:
        assert picture.format == "PNG"
    loaded = QualityCalibration.load(run.root / "calibration.json")
    assert loaded.predict(1.0) == pytest.approx(1.0)
    (run.root / "samples.csv").unlink()
    assert cli.main(["evaluate", str(run.root), str(truth), "--calibrate"]) == 2
    assert "has no samples.csv" in capsys.readouterr().err
