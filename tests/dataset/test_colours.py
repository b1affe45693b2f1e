"""Colours of classes that are saved with a dataset."""

from __future__ import annotations

import pytest

from fiftyone_plugin.dataset.colours import (
    class_colours,
    field_colours,
    forget_classes,
    palette_of,
    saved_scheme,
    use_palette,
    write_classes,
)
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.palette import COLOUR_BLIND, USUAL, hex_color


def entry(dataset, field):
    dataset.reload()
    fields = dataset.app_config.color_scheme.fields
    (found,) = [each for each in fields if each["path"] == field]
    return {item["intTarget"]: item["color"] for item in found.get("maskTargetsColors", [])}


def test_one_name_has_one_colour_and_background_none():
    names = {0: "background", 3: "cat", 1: "sky", 7: "cat"}
    assert class_colours(names) == {1: hex_color(1), 3: hex_color(3), 7: hex_color(3)}


def test_saved_with_the_dataset_and_forgotten_with_the_field(fo, dataset):
    assert saved_scheme(dataset) == {}
    write_classes(dataset, "auto", {1: "sky", 2: "sea"})
    assert entry(dataset, "auto") == {1: hex_color(1), 2: hex_color(2)}
    assert dataset.mask_targets["auto"] == {1: "sky", 2: "sea"}
    assert saved_scheme(dataset)["color_by"] == "value"
    write_classes(dataset, "auto", {1: "water", 2: "water"})
    assert entry(dataset, "auto") == {1: hex_color(1), 2: hex_color(1)}
    forget_classes(dataset, "auto")
    dataset.reload()
    assert "auto" not in dataset.mask_targets
    assert dataset.app_config.color_scheme is None


@pytest.mark.parametrize("color_by", [None, "field", "instance"])
def test_what_a_person_has_chosen_stays(fo, dataset, color_by):
    own = {
        "path": "auto",
        "fieldColor": "#112233",
        "maskTargetsColors": [{"intTarget": 2, "color": "#123456"}],
    }
    other = {"path": "ground_truth", "maskTargetsColors": [{"intTarget": 1, "color": "#abcdef"}]}
    dataset.app_config.color_scheme = fo.ColorScheme(color_by=color_by, opacity=0.4, fields=[other, own])
    dataset.save()
    write_classes(dataset, "auto", {1: "sky", 2: "sea"})
    assert entry(dataset, "auto") == {1: hex_color(1), 2: "#123456"}
    assert entry(dataset, "ground_truth") == {1: "#abcdef"}
    scheme = dataset.app_config.color_scheme
    assert (scheme.color_by, scheme.opacity) == (color_by or "value", 0.4)
    assert scheme.fields[1]["fieldColor"] == "#112233"
    forget_classes(dataset, "auto")
    dataset.reload()
    assert dataset.app_config.color_scheme.opacity == 0.4
    assert [each["path"] for each in dataset.app_config.color_scheme.fields] == ["ground_truth"]


def test_a_run_saves_colours_and_undo_takes_them_back(dataset, fill):
    from fiftyone_plugin.dataset.labelling import undo
    from fiftyone_plugin.dataset.record import list_runs

    fill("auto", images=3)
    names = dataset.mask_targets["auto"]
    assert entry(dataset, "auto") == class_colours({int(id_): name for id_, name in names.items()})
    (run,) = list_runs(dataset)
    undo(dataset, run.key)
    dataset.reload()
    assert dataset.app_config.color_scheme is None


def test_another_palette_colours_all_runs_and_stays_under_renaming(tiny):
    from fiftyone_plugin.dataset.editing.names import rename_classes

    tiny.info = {"of a person": 1}
    usual = field_colours(tiny, "m")
    use_palette(tiny, COLOUR_BLIND)
    tiny.reload()
    assert tiny.info["of a person"] == 1
    assert (
        entry(tiny, "m") == field_colours(tiny, "m") == {id_: hex_color(id_, COLOUR_BLIND) for id_ in usual}
    )
    first, second = list(usual)[:2]
    rename_classes(tiny, "m", {first: "sky"})
    assert entry(tiny, "m") == {id_: hex_color(id_, COLOUR_BLIND) for id_ in usual}
    rename_classes(tiny, "m", {second: "sky"})
    assert entry(tiny, "m")[second] == hex_color(first, COLOUR_BLIND)
    with pytest.raises(UsageError, match="colour-blind"):
        use_palette(tiny, "grey")
    use_palette(tiny, USUAL)
    assert palette_of(tiny) == USUAL
    assert tiny.info == {"of a person": 1}
    assert entry(tiny, "m")[second] == hex_color(first)
