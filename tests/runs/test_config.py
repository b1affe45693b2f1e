"""Settings of a run: presets and what they leave alone."""

from __future__ import annotations

import dataclasses

import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.config import PRESETS, LabelConfig
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
