"""Accepting masks by their score: tags against a loop over the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.dataset.accepting import Kept, accept, count_kept, expected_iou, take_back
from fiftyone_plugin.dataset.record import finished_run
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.calibration import QualityCalibration


def tags(dataset):
    return [sorted(sample.tags) for sample in dataset]


def test_samples_are_tagged_by_their_score_and_no_other_tag_changes(tiny):
    scores = tiny.values("m_quality")  # 0.2, 0.3, 0.4, 0.5
    for sample in tiny.limit(2).iter_samples(autosave=True):
        sample.tags = ["mine"]
    assert count_kept(tiny, "m_quality", 0.4) == accept(tiny.limit(1), "m", 0.4) == Kept(2, 2)
    wanted = [["mine"] if number < 2 else [] for number in range(4)]
    assert tags(tiny) == [
        sorted([*own, "accepted" if score >= 0.4 else "to review"])
        for own, score in zip(wanted, scores, strict=True)
    ]
    assert accept(tiny, "m", 0.25) == Kept(3, 1)
    assert tiny.count_sample_tags() == {"mine": 2, "accepted": 3, "to review": 1}
    take_back(tiny, "m")
    assert tags(tiny) == wanted
    with pytest.raises(UsageError, match="no finished run"):
        accept(tiny, "n", 0.5)


def test_what_is_kept_has_an_expected_iou_where_the_run_is_calibrated(tiny):
    folder = Path(finished_run(tiny, "m").out)

    def expected(threshold):
        return expected_iou(tiny, finished_run(tiny, "m"), "m_quality", threshold)

    assert expected(0.4) is None
    quality = np.linspace(0, 1, 20)
    QualityCalibration.fit(quality, quality / 2).save(folder / "calibration.json")
    assert expected(0.4) == pytest.approx(0.225, abs=0.01)  # half of 0.4 and 0.5
    assert expected(0.9) is None
    (folder / "calibration.json").write_text("{")
    assert expected(0.4) is None
