"""Time and disk of a run: words, learning from runs, fitting, and what is not learnt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin.runs import estimate as module
from fiftyone_plugin.runs.estimate import Plan, estimate, format_bytes, format_seconds, learn
from fiftyone_plugin.runs.result import LabelResult
from fiftyone_plugin.runs.samples import SampleRow

PLAN = Plan(100, "mosaic", "offline-vits14", 448, "none", "cpu")
PLACE = {"backbone": "offline-vits14", "device": "cpu"}


def finished_run(folder: Path, images=50, *, factor=2.0, forwards=None, mask_bytes=100, work=None, **changes):
    """A run's result as the pipeline makes it, ``factor`` times as long as guessed, with real files."""
    rows = [SampleRow(image=f"{i}.jpg", mask=f"{i}.png") for i in range(images)]
    for kind in ("masks", "confidence"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for row in rows:
            (folder / kind / row.mask).write_bytes(bytes(mask_bytes))
    settings = {
        "method": "mosaic",
        "refine": "none",
        "size": 448,
        "model": None,
        "backbone": PLACE,
        **changes,
    }
    plan = replace(PLAN, images=images, method=settings["method"])
    label = factor * module._guess_label(plan)
    run = {
        "settings": settings,
        "counts": {"images": images, "labelled": images, "skipped": 0},
        "work": {"images": images, "forwards": forwards or images, "fitted": True, **(work or {})},
        "seconds": {"total": factor * module._guess_fit(plan) + label, "masks": label},
    }
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

    forward, seconds = module.FORWARD_S["cpu"], of().seconds
    assert of(images=200).seconds == pytest.approx(2 * seconds - of(images=0).seconds)
    assert of(size=896).seconds - seconds == pytest.approx(100 * 3 * forward)
    assert of(backbone="vit_base_patch14_dinov2.lvd142m").seconds - seconds == pytest.approx(
        100 * 2.6 * forward
    )
    assert of(device="cuda").seconds < seconds
    assert of(refine="crf").seconds - seconds == pytest.approx(100 * module.REFINE_S)
    assert of(method="alignseg").seconds > seconds


@pytest.mark.parametrize(("method", "passes"), [("mosaic", 1), ("lightcluster", 2), ("alignseg", 3)])
def test_images_pass_the_network_once_but_for_the_sample(tmp_path, method, passes):
    """Features of 3,000 images at 56 px fit in memory, of 3,000 at 448 px those of a part do.

    What mosaic keeps of 3,000 images fits on disk.
    """
    forward = {"backbone": "offline-vits14", "method": method, "fit_images": 3000}
    for size, again in ((56, False), (448, True)):
        plan = replace(PLAN, images=100_000, size=size, **forward)
        kept = min(3000, module.IN_MEMORY / module._feature_bytes(plan))
        times = 100_000 + (passes - 1) * (3000 - kept) + (0 if method == "mosaic" else 3000 - kept)
        cost = module.COSTS[method]
        rest = module.START_S + cost.constant + 3000 * cost.fit + 100_000 * cost.mask
        found = (estimate(plan, tmp_path).seconds - rest) / module._forward(plan)
        assert found == pytest.approx(times)
        assert (kept < 3000) == again


def test_disk_is_results_what_is_kept_meanwhile_and_the_cache_up_to_its_limit(tmp_path):
    def of(**changes):
        return estimate(replace(PLAN, **changes), tmp_path)

    assert of(fitted=True).bytes == of(method="datus").bytes == 100 * module.MASK_BYTES
    assert of().bytes == 100 * (module.MASK_BYTES + module.REDUCED_BYTES)
    assert of(size=224).bytes == 100 * module.MASK_BYTES + 25 * module.REDUCED_BYTES
    assert of(images=100_000).bytes == 100_000 * module.MASK_BYTES + module.REDUCED_LIMIT
    assert of(images=100_000).working_bytes == 4000 * module.WORKING_BYTES
    assert of(method="datus").working_bytes == of(fitted=True).working_bytes == 0
    cached = of(kept=True)
    assert cached.bytes - of().bytes == 100 * 5 * 2 * 384 * 32 * 32
    assert of(kept=True, cached=0.75).bytes - of().bytes == 25 * 5 * 2 * 384 * 32 * 32
    assert of(kept=True, cached=0.75).seconds < cached.seconds - 70 * module.FORWARD_S["cpu"]
    assert of(cached=0.75) == of()  # nobody asks the cache
    limited = of(kept=True, cache_limit=100_000_000)
    assert limited.bytes == of().bytes + 100_000_000
    (note,) = limited.notes
    assert "100 MB of 390 MB" in note
    assert "75% of the images" in note


def test_what_is_good_to_know_beforehand(tmp_path):
    plan = replace(PLAN, images=100_000)
    (note,) = estimate(plan, tmp_path).notes
    assert "4,000 of the 100,000 images" in note
    assert estimate(replace(plan, fitted=True), tmp_path).notes == ()
    assert estimate(PLAN, tmp_path).notes == ()
    assert str(estimate(PLAN, tmp_path)).endswith("34 MB on disk, 15 MB more while it runs")
    assert str(estimate(replace(PLAN, fitted=True), tmp_path)).endswith("900 kB on disk")


@pytest.mark.parametrize("factor", [0.2, 1.0, 7.0])
def test_a_run_teaches_its_own_rates(tmp_path, factor):
    run = finished_run(tmp_path / "run", factor=factor)
    learn(run, tmp_path)
    found = estimate(replace(PLAN, images=50), tmp_path)
    assert found.runs == 1
    assert "1 run on this machine" in found.origin
    assert found.seconds == pytest.approx(
        run.run["seconds"]["total"]
    )  # the same run again takes what it took
    assert found.bytes == 50 * (200 + module.REDUCED_BYTES)
    guess = estimate(replace(PLAN, images=7000), tmp_path / "nowhere").seconds
    assert estimate(replace(PLAN, images=7000), tmp_path).seconds == pytest.approx(factor * guess)


def test_runs_of_about_the_same_size_count_most(tmp_path):
    learn(finished_run(tmp_path / "small", images=4, factor=1.0), tmp_path)
    learn(finished_run(tmp_path / "large", images=200, factor=3.0), tmp_path)
    for images, low, high in ((4, 1.0, 1.1), (200, 2.9, 3.0), (28, 1.7, 2.3)):
        plan = replace(PLAN, images=images)
        ratio = estimate(plan, tmp_path).seconds / estimate(plan, tmp_path / "nowhere").seconds
        assert low <= ratio <= high


def test_other_methods_teach_how_fast_the_machine_is(tmp_path):
    learn(finished_run(tmp_path / "run", factor=3.0), tmp_path)
    other = replace(PLAN, method="lightcluster", images=50)
    taught, guess = estimate(other, tmp_path), estimate(other, tmp_path / "nowhere")
    assert taught.runs == 0
    assert taught.seconds == pytest.approx(3 * guess.seconds)


@pytest.mark.parametrize(
    "other",
    [{"size": 224}, {"refine": "crf"}, {"device": "cuda"}, {"backbone": "vit_small_patch16_224.dino"}],
)
def test_other_settings_learn_nothing_of_it(tmp_path, other):
    learn(finished_run(tmp_path / "run"), tmp_path)
    plan = replace(PLAN, **other)
    assert estimate(plan, tmp_path) == estimate(plan, tmp_path / "nowhere")


def test_resumed_runs_and_runs_with_a_model_teach_nothing(tmp_path):
    learn(finished_run(tmp_path / "a", work={"images": 20}), tmp_path)
    learn(finished_run(tmp_path / "b", work={"fitted": False}), tmp_path)
    without = finished_run(tmp_path / "c")
    without.run["work"] = {}
    learn(without, tmp_path)
    assert not (tmp_path / module.RATES_NAME).exists()


def test_a_run_whose_features_were_cached_does_not_make_the_network_cheap(tmp_path):
    run = finished_run(tmp_path / "run", forwards=1)
    cached = replace(PLAN, images=50, kept=True, cached=0.98)
    label, fit = module._guess_label(cached), module._guess_fit(cached)
    run.run["seconds"] = {"total": label + fit, "masks": label}
    learn(run, tmp_path)
    assert estimate(PLAN, tmp_path).seconds == pytest.approx(estimate(PLAN, tmp_path / "nowhere").seconds)


def test_old_runs_are_forgotten(tmp_path):
    for _ in range(module.KEPT + 3):
        learn(finished_run(tmp_path / "run", images=5), tmp_path)
    assert estimate(PLAN, tmp_path).runs == module.KEPT


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 99, "rates": {}}', '{"format": 2, "rates": {"a": 3}}']
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
    settings = {"size": 112, "refine": "none", "jobs": 1, "classes": 4}
    result = label(photos, out=tmp_path / "run", method="lightcluster", **settings)
    found = estimate(Plan(7, "lightcluster", "offline-vits14", 112, "none", backbone.device), cache)
    assert found.runs == 1
    assert found.seconds == pytest.approx(result.run["seconds"]["total"], rel=0.02)
    masks = sum(
        p.stat().st_size for kind in ("masks", "confidence") for p in (tmp_path / "run" / kind).iterdir()
    )
    assert found.bytes == pytest.approx(masks, abs=1)
