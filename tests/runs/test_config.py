"""Settings of a run: presets and what they leave alone."""

from __future__ import annotations

import dataclasses

import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.config import PRESETS, LabelConfig, default_classes, with_number_of_classes
from fiftyone_plugin.runs.model import create_configured


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_is_a_method_that_can_be_built(preset):
    config = LabelConfig(preset=preset, classes=7)
    config.validate()
    method = create_configured(config, config.refine or "none")
    assert method.get_config()["n_classes"] == 7
    for name, value in PRESETS[preset].items():
        if name != "options":
            assert getattr(config, name) == value
    for name, value in PRESETS[preset].get("options", {}).items():
        assert method.get_config()[name] == value


def test_a_preset_sets_only_what_is_not_set():
    config = LabelConfig(preset="fast", refine="crf", options={"cue_regions": 4, "blur": 1.0})
    assert config.refine == "crf"
    assert config.options == {**PRESETS["fast"]["options"], "cue_regions": 4, "blur": 1.0}
    assert LabelConfig(preset="best").refine == "crf"
    assert LabelConfig(preset="best", refine="none").refine == "none"
    assert dataclasses.replace(config, seed=3) == dataclasses.replace(config, seed=3, preset="fast")
    assert "cuts" not in LabelConfig().options


def test_presets_of_nothing_are_refused():
    with pytest.raises(UsageError, match="unknown preset 'quick'; known: fast, best"):
        LabelConfig(preset="quick")
    with pytest.raises(UsageError, match="of the default method, mosaic, not of datus"):
        LabelConfig(preset="fast", method="datus")


def test_the_number_of_classes_follows_the_number_of_images_unless_it_is_named():
    found = [default_classes(n) for n in (1, 2, 7, 25, 59, 99, 100, 10_000)]
    assert found == [2, 3, 5, 10, 15, 20, 20, 20]
    assert with_number_of_classes(LabelConfig(), 7).classes == 5
    assert with_number_of_classes(LabelConfig(classes=20), 7).classes == 20
    assert with_number_of_classes(LabelConfig(classes="auto"), 7).classes == "auto"
    assert with_number_of_classes(LabelConfig(classes="many"), 7).classes == 30
    assert with_number_of_classes(LabelConfig(), 50, taught=True).classes == 50
    assert with_number_of_classes(LabelConfig(classes=9), 50, taught=True).classes == 9
