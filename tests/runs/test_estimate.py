"""Time and disk of a run: words, learning from runs, fitting, and what is not learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiftyone_plugin.runs import estimate as module
from fiftyone_plugin.runs.estimate import Plan, estimate, format_bytes, format_seconds, layer_bytes, learn
from fiftyone_plugin.runs.result import LabelResult
from fiftyone_plugin.runs.samples import SampleRow

PLAN = Plan(100, "mosaic", "offline-vits14", 448, "none", "cpu")


def finished_run(folder: Path, images=50, computed=None, seconds=None, mask_bytes=100, **changes):
    """A run's result as the pipeline makes it, with real files of known sizes."""
    computed = images if computed is None else computed
    seconds = seconds or {"features": 0.5 * computed, "masks": 0.1 * images, "rest": 10.0 + 0.2 * images}
    rows = [SampleRow(image=f"{i}.jpg", mask=f"{i}.png") for i in range(images)]
    for kind in ("masks", "confidence"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for row in rows:
            (folder / kind / row.mask).write_bytes(bytes(mask_bytes))
    run = {
        "settings": {
            "method": "mosaic",
            "refine": "none",
            "size": 448,
            "model": None,
            "backbone": {"backbone": "offline-vits14", "device": "cpu"},
        },
        "counts": {"images": images, "labelled": images, "skipped": 0},
        "work": {"whole": True, "computed": computed, "feature_bytes": 1000},
        "seconds": {
            "total": sum(seconds.values()),
            "features": seconds["features"],
            "masks": seconds["masks"],
        },
    }
    run["settings"] |= changes
    return LabelResult(folder, rows, {1: "class 1"}, run)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 s"),
        (7.6, "8 s"),
        (89, "89 s"),
        (91, "2 min"),
        (240, "4 min"),
        (5000, "83 min"),
        (6000, "1 h 40 min"),
        (7200, "2 h"),
        (40 * 3600, "40 h"),
    ],
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1 kB"), (40_000, "40 kB"), (1.25e6, "1.2 MB"), (123.4e6, "120 MB"), (2.34e9, "2.3 GB")],
)
def test_sizes(count, text):
    assert format_bytes(count) == text


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_longer_never_reads_shorter(a, b):
    units = {"s": 1, "min": 60, "h": 3600}

    def value(text):
        parts = text.split()
        return sum(int(n) * units[u] for n, u in zip(parts[::2], parts[1::2], strict=True))

    low, high = sorted((a, b))
    assert value(format_seconds(low)) <= value(format_seconds(high))
    assert abs(value(format_seconds(high)) - high) <= max(1.0, 0.34 * high)


def test_without_a_run_it_is_a_guess_that_says_so(tmp_path):
    found = estimate(PLAN, tmp_path)
    assert found.runs == 0
    assert "guess" in found.origin
    assert str(found).startswith("about ")
    assert not (tmp_path / module.RATES_NAME).exists()


def test_a_guess_scales_with_images_width_size_and_device(tmp_path):
    def of(**changes):
        return estimate(replace(PLAN, **changes), tmp_path)

    seconds = of().seconds
    assert of(images=200).seconds == pytest.approx(2 * seconds - (of(images=0).seconds))
    assert of(size=896).seconds - seconds == pytest.approx(100 * 3 * module.FORWARD_S["cpu"])
    assert of(backbone="vit_base_patch14_dinov2.lvd142m").seconds > 2 * seconds
    assert of(device="cuda").seconds < seconds
    assert of(refine="crf").seconds > seconds
    assert of(cached=1.0).seconds < seconds - 50 * module.FORWARD_S["cpu"]
    assert of(cached=1.0).bytes < of(cached=0.5).bytes < of().bytes
    assert of(method="alignseg").seconds > seconds
    assert of(fitted=True).seconds < seconds
    assert of(kept=False).bytes == of(cached=1.0).bytes
    assert of(kept=False).seconds == seconds


def test_a_run_teaches_its_own_rates(tmp_path):
    learn(finished_run(tmp_path / "run"), tmp_path)
    found = estimate(replace(PLAN, images=50), tmp_path)
    assert found.runs == 1
    assert "1 run on this machine" in found.origin
    # the same run again takes what it took
    assert found.seconds == pytest.approx(0.5 * 50 + 0.1 * 50 + 10 + 0.2 * 50)
    assert found.bytes == 50 * (200 + 1000)
    cached = estimate(replace(PLAN, images=50, cached=1.0), tmp_path)
    assert cached.seconds == pytest.approx(found.seconds - 25)
    assert cached.bytes == 50 * 200


@settings(deadline=None, max_examples=25)
@given(
    st.floats(0.0, 60.0),
    st.floats(0.001, 5.0),
    st.lists(st.integers(5, 20_000), min_size=2, max_size=8, unique=True),
)
def test_constant_and_slope_are_found_from_runs_of_several_sizes(constant, slope, sizes):
    if max(sizes) < module.SPREAD * min(sizes):
        sizes = [*sizes, 4 * max(sizes)]
    a, b = module._line([(n, constant + slope * n) for n in sizes], (8.0, 0.1))
    for n in (min(sizes), max(sizes)):
        assert a + b * n == pytest.approx(constant + slope * n, rel=0.02)
    assert a >= 0
    assert b >= 0


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0.01, 1e5)), min_size=1, max_size=12))
def test_predictions_are_never_negative_and_grow(points):
    a, b = module._line(points, (8.0, 0.1))
    assert a >= 0
    assert b >= 0
    assert np.isfinite([a, b]).all()


def test_small_runs_do_not_take_their_start_for_a_part_of_every_image(tmp_path):
    guess = estimate(PLAN, tmp_path)
    large = estimate(replace(PLAN, images=5000), tmp_path)
    seconds = {"features": 7 * 0.56, "masks": 7 * 0.1, "rest": module.START_S + 24.0 + 7 * 0.25}
    learn(finished_run(tmp_path / "run", images=7, seconds=seconds), tmp_path)
    assert estimate(replace(PLAN, images=5000), tmp_path).seconds == pytest.approx(large.seconds, rel=0.01)
    assert estimate(PLAN, tmp_path).seconds == pytest.approx(guess.seconds, rel=0.01)


def test_the_backbone_is_shared_by_methods(tmp_path):
    seconds = {"features": 100.0, "masks": 5.0, "rest": 20.0}
    learn(finished_run(tmp_path / "run", seconds=seconds), tmp_path)
    other = replace(PLAN, method="lightcluster", images=50)
    guess = estimate(other, tmp_path / "nowhere")
    taught = estimate(other, tmp_path)
    assert taught.runs == 0
    assert taught.seconds - guess.seconds == pytest.approx(100.0 - 50 * module.FORWARD_S["cpu"])


@pytest.mark.parametrize(
    "other",
    [{"size": 224}, {"refine": "crf"}, {"device": "cuda"}, {"backbone": "vit_small_patch16_224.dino"}],
)
def test_other_settings_learn_nothing_of_it(tmp_path, other):
    learn(finished_run(tmp_path / "run"), tmp_path)
    assert estimate(replace(PLAN, **other), tmp_path).runs == 0


def test_resumed_runs_and_runs_with_a_model_teach_nothing(tmp_path):
    resumed = finished_run(tmp_path / "a")
    resumed.run["work"]["whole"] = False
    learn(resumed, tmp_path)
    learn(finished_run(tmp_path / "b", model="0123"), tmp_path)
    without = finished_run(tmp_path / "c")
    without.run["work"] = {}
    learn(without, tmp_path)
    assert not (tmp_path / module.RATES_NAME).exists()


def test_a_run_whose_features_were_cached_says_nothing_of_the_backbone(tmp_path):
    learn(finished_run(tmp_path / "run", computed=0), tmp_path)
    document = json.loads((tmp_path / module.RATES_NAME).read_text())
    assert list(document["rates"]) == ["mosaic|offline-vits14|448|cpu|none"]
    assert estimate(PLAN, tmp_path).seconds > 100 * module.FORWARD_S["cpu"]


def test_old_runs_are_forgotten(tmp_path):
    for _ in range(module.KEPT + 3):
        learn(finished_run(tmp_path / "run", images=5), tmp_path)
    assert estimate(PLAN, tmp_path).runs == module.KEPT


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 99, "rates": {}}', '{"format": 1, "rates": {"a": 3}}']
)
def test_a_damaged_file_is_replaced(tmp_path, content):
    (tmp_path / module.RATES_NAME).write_text(content)
    assert estimate(PLAN, tmp_path).runs == 0
    learn(finished_run(tmp_path / "run"), tmp_path)
    assert estimate(PLAN, tmp_path).runs == 1


def test_a_folder_that_cannot_be_written_does_not_fail_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    learn(finished_run(tmp_path / "run"), tmp_path / "file")
    assert estimate(PLAN, tmp_path / "file").runs == 0


@pytest.mark.usefixtures("backbone")
def test_a_real_run_teaches_what_it_took(photos, tmp_path, backbone, monkeypatch):
    from fiftyone_plugin import label
    from fiftyone_plugin.common.paths import CACHE_ENV

    cache = tmp_path / "cache"
    monkeypatch.setenv(CACHE_ENV, str(cache))
    result = label(
        photos, out=tmp_path / "run", size=112, refine="none", jobs=1, classes=4, method="lightcluster"
    )
    plan = Plan(7, "lightcluster", "offline-vits14", 112, "none", backbone.device)
    found = estimate(plan, cache)
    assert found.runs == 1
    assert found.seconds == pytest.approx(result.run["seconds"]["total"], rel=0.02)
    stored = sum(path.stat().st_size for path in (cache / "features").rglob("*.safetensors"))
    masks = sum(
        p.stat().st_size for kind in ("masks", "confidence") for p in (tmp_path / "run" / kind).iterdir()
    )
    crops = layer_bytes(["cls"], (1, 1), backbone.dim) * 200  # CLS of regions; their number is the method's
    assert stored + masks - crops <= found.bytes <= stored + masks
