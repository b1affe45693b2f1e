"""The panel "Pseudo-masks" and the figures behind it, against loops over the samples."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset import summary as app_summary
from fiftyone_plugin.dataset.record import RunFields
from fiftyone_plugin.errors import UsageError

URI = f"{PLUGIN_NAME}/pseudomasks"


@pytest.fixture
def labelled(dataset, fill):
    fill("auto", images=5)
    return dataset


def filled(sent):
    """Return what fills the panel's tables and plots."""
    merged = {}
    for name, params in sent:
        assert name != "patch_panel_data", "the App would keep the tails of longer lists"
        if name == "set_panel_data":
            assert not merged, "one message"
            merged = {re.sub(r"(?<!strip)_\d+$", "", key): rows for key, rows in params["data"].items()}
    return merged


def sent_view(fo, dataset, sent):
    (params,) = (params for name, params in sent if name == "set_view")
    return fo.DatasetView._build(dataset, params["view"])


def slow_counts(dataset, field):
    """Count the images of every class by reading every mask."""
    names = dataset.mask_targets[field]
    counts = dict.fromkeys(names.values(), 0)
    for sample in dataset.exists(field):
        for id_ in np.unique(sample[field].get_mask()):
            if id_:
                counts[names[int(id_)]] += 1
    return counts


def test_loading_fills_tables_and_plots(labelled, panel):
    sent, state = panel(labelled, "on_load")
    data, counts = filled(sent), slow_counts(labelled, "auto")
    assert {row["name"]: row["images"] for row in data["classes"]} == counts
    assert [row["name"] for row in data["classes"]] == [name for name, _ in state["classes"]]
    images = [row["images"] for row in data["classes"]]
    assert images == sorted(images, reverse=True)
    for row in data["classes"]:
        shown = [s.auto_quality for s in labelled.exists("auto") if row["name"] in s.auto_classes]
        assert row["quality"] == (f"{np.mean(shown):.2f}" if shown else "")
    settings = {row["name"]: row["value"] for row in data["settings"]}
    assert settings["method"] == "lightcluster"
    assert settings["backbone"] == "offline-vits14"
    assert settings["labelled"] == "5"
    assert sum(data["scores"][0]["y"]) == 5
    assert "masks" in data["seconds"][0]["y"]


def test_a_click_on_a_class_shows_its_images_and_a_second_one_all(fo, labelled, panel):
    _, state = panel(labelled, "on_load")
    for row, (name, _) in enumerate(state["classes"]):
        sent, clicked = panel(labelled, "click_class", state, row=row, column=1)
        expected = [s.id for s in labelled.exists("auto") if name in s.auto_classes]
        assert sent_view(fo, labelled, sent).values("id") == expected
        assert clicked["shown"] == name
    (view,) = (params["view"] for told, params in sent if told == "set_view")
    sent, again = panel(labelled, "click_class", clicked, view=view, row=row, column=1)
    assert "clear_view" in [told for told, _ in sent]
    assert again["shown"] is None
    assert "set_view" not in [told for told, _ in panel(labelled, "click_class", state, row=99)[0]]


def test_a_click_on_a_heading_sorts_the_classes(labelled, panel):
    _, state = panel(labelled, "on_load")
    names = [name for name, _ in state["classes"]]
    for column, by in enumerate(("name", "crops", "images", "area", "quality")):
        for _ in range(2):
            sent, state = panel(labelled, "click_class", state, row=-1, column=column)
            found = filled(sent)["classes"] if by != "crops" else None
            if found is None:
                assert "set_panel_data" not in [told for told, _ in sent]
                continue
            down = state["sort"] == [by, True]
            cells = [row["name"].split()[-1] if by == "name" else str(row[by]) for row in found]
            values = [float(cell.rstrip("%") or 0) for cell in cells]
            assert values == sorted(values, reverse=down)
            assert [row["name"] for row in found] == [name for name, _ in state["classes"]]
    assert sorted(names) == sorted(name for name, _ in state["classes"])


def test_the_bars_share_the_images_out(fo, labelled, panel):
    _, state = panel(labelled, "on_load")
    histogram = app_summary.score_histogram(labelled, "auto_quality")
    shown = []
    for bar, count in enumerate(histogram.counts):
        sent, _ = panel(labelled, "click_bar", state, idx=bar)
        ids = sent_view(fo, labelled, sent).values("id")
        assert len(ids) == count
        shown += ids
    assert sorted(shown) == sorted(labelled.exists("auto").values("id"))


@pytest.mark.parametrize("values", [[0.0, 1.0, 0.5, 0.5], [0.3], [0.7, 0.7], [0.1, None, 1 / 3, 0.9]])
def test_every_value_is_in_one_bar(fo, dataset, values):
    dataset.add_sample_field("score", fo.FloatField)
    dataset.limit(len(values)).set_values("score", values)
    histogram = app_summary.score_histogram(dataset, "score")
    found = np.array([value for value in values if value is not None])
    assert sum(histogram.counts) == len(found)
    expected = [((low <= found) & (found < high)).sum() for low, high in pairwise(histogram.edges)]
    assert list(histogram.counts) == expected
    views = [app_summary.bar_view(dataset, histogram, bar) for bar in range(len(histogram.counts))]
    assert [len(view) for view in views] == expected


def test_a_field_without_values_has_no_histogram(fo, dataset):
    dataset.add_sample_field("score", fo.FloatField)
    with pytest.raises(UsageError, match="score"):
        app_summary.score_histogram(dataset, "score")


def test_coverage_stands_in_for_quality(labelled):
    assert app_summary.score_field(labelled, "auto") == "auto_quality"
    labelled.delete_sample_field("auto_quality")
    assert app_summary.score_field(labelled, "auto") == "auto_coverage"


def test_deleting_asks_first_and_leaves_other_fields(labelled, panel, tmp_path):
    before = set(labelled.get_field_schema())
    labelled.set_values("note", ["mine"] * 7)
    _, state = panel(labelled, "on_load")
    _, state = panel(labelled, "ask_delete", state)
    assert labelled.has_run("pseudomask_auto")
    _, kept = panel(labelled, "keep", dict(state))
    panel(labelled, "delete", kept)  # not asked any more
    assert labelled.has_run("pseudomask_auto")
    sent, _ = panel(labelled, "delete", state)
    assert "reload_dataset" in [name for name, _ in sent]
    labelled.reload()
    assert labelled.list_runs() == []
    gone = set(RunFields("auto").all)
    assert set(labelled.get_field_schema()) == (before - gone) | {"note"}
    assert not (tmp_path / "auto").exists()


def test_a_view_is_left_before_what_it_shows_is_deleted(labelled, panel):
    _, state = panel(labelled, "on_load")
    _, state = panel(labelled, "ask_delete", state)
    view = "auto: review first"
    for number in range(3):  # the App needs a moment
        sent, state = panel(
            labelled, "delete", state, view_name=view, **({"tries": number} if number else {})
        )
        assert [name for name, _ in sent] == ["clear_view"] * (number == 0) + ["pseudomasks"]
        again = sent[-1][1]
        assert (again["__method__"], again["tries"], again["panel_state"]) == ("delete", number + 1, state)
        assert labelled.has_run("pseudomask_auto")
    sent, _ = panel(labelled, "delete", state, tries=3)
    assert "reload_dataset" in [name for name, _ in sent]
    assert not labelled.has_run("pseudomask_auto")


def test_a_view_that_somebody_else_deleted_is_left(labelled, panel):
    _, state = panel(labelled, "on_load")
    view = "auto: review first"
    labelled.delete_saved_view(view)
    for event in ("watch", "ask_delete", "on_load"):
        sent, _ = panel(labelled, event, state, view_name=view)
        assert [name for name, _ in sent] == ["clear_view", "pseudomasks"]
    sent, _ = panel(labelled, "ask_delete", state, view_name=view, tries=40)
    assert [params["message"] for name, params in sent if name == "notify"] == [
        "the App shows a view that is gone: reload the page without it"
    ]


def test_events_with_an_empty_state_and_no_run_do_nothing(dataset, panel):
    for method in (
        "on_load",
        "on_change_dataset",
        "click_class",
        "click_bar",
        "click_pair",
        "click_agreement",
        "show_disagreement",
        "show_saved",
        "create_views",
        "compare",
        "choose_other",
        "forget_comparison",
        "ask_delete",
        "delete",
        "rename_class",
        "split_one",
        "hide_one",
        "open_form",
        "toggle",
    ):
        sent, _ = panel(dataset, method)
        assert "set_view" not in [name for name, _ in sent]
        assert filled(sent).get("classes", []) == []


def test_areas_are_those_of_the_masks(labelled, panel):
    sent, _ = panel(labelled, "on_load")
    names, pixels, areas = labelled.mask_targets["auto"], 0, {}
    for sample in labelled.exists("auto"):
        mask = sample.auto.get_mask()
        pixels += mask.size
        for id_, count in zip(*np.unique(mask, return_counts=True), strict=True):
            areas[int(id_)] = areas.get(int(id_), 0) + int(count)
    shares = {names[id_]: count / pixels for id_, count in areas.items() if id_}
    rows = app_summary.class_rows(labelled, "auto", app_summary.list_runs(labelled)[0].areas)
    assert {row.name: row.area for row in rows if row.area} == pytest.approx(shares, abs=2e-4)
    shown = {row["name"]: row["area"] for row in filled(sent)["classes"]}
    assert shown == {row.name: f"{row.area:.1%}" for row in rows}


def styles(sent):
    """Return the styles of the table of classes, as the layout has them."""
    (layout,) = (params["output"] for told, params in sent if told == "show_panel_output")
    properties = layout["type"]["properties"] if "type" in layout else layout
    (table,) = (each for name, each in properties.items() if name.startswith("classes_"))
    return table["view"]["componentsProps"]["table"]["sx"]


def test_rows_have_the_colours_of_the_masks_and_crops(labelled, panel, tmp_path):
    import shutil

    scheme = labelled.app_config.color_scheme
    colours = {each["intTarget"]: each["color"] for each in scheme.fields[0]["maskTargetsColors"]}
    sent, state = panel(labelled, "on_load")
    for row, (_, ids) in enumerate(state["classes"], 1):
        style = styles(sent)
        chip = style[f"& tbody tr:nth-of-type({row}) td:first-of-type::before"]
        assert chip["background"] == colours[ids[0]]
        crops = style[f"& tbody tr:nth-of-type({row}) td:nth-of-type(2)"]["backgroundImage"]
        assert crops.startswith("url(data:image/webp;base64,")
    shutil.rmtree(tmp_path / "auto" / "exemplars")
    config = labelled.get_run_info("pseudomask_auto").config
    config.areas = {}
    labelled.update_run_config("pseudomask_auto", config)
    sent, state = panel(labelled, "on_load")  # as runs of earlier versions are
    assert filled(sent)["classes"][0]["area"] == ""
    assert "& tbody tr:nth-of-type(1) td:nth-of-type(2)" not in styles(sent)


def test_a_run_brings_indexes_along_and_takes_them_away(labelled, panel):
    assert {"auto_classes", "auto_quality"} <= set(labelled.list_indexes())
    _, state = panel(labelled, "on_load")
    panel(labelled, "delete", {**state, "confirm": "pseudomask_auto"})
    labelled.reload()
    assert not any(name.startswith("auto") for name in labelled.list_indexes())


def test_every_operator_is_reached_with_the_field_of_the_run(fo, labelled, fill, panel):
    import yaml

    from tests.conftest import REPOSITORY

    fill("later")
    listed = yaml.safe_load((REPOSITORY / "fiftyone.yml").read_text())["operators"]
    metrics = listed[listed.index("import_masks") + 1 :]
    _, state = panel(labelled, "on_load")
    state = {**state, "run": "pseudomask_auto"}
    opened = {}
    for name in listed:
        for told, params in panel(labelled, "open_form", state, operator=name)[0]:
            if told == "prompt_user_for_operation":
                opened[params["operator_uri"].split("/")[-1]] = params["params"]
    direct = {"quick_label", "name_classes", "show_anew"}  # a click, and the end of the cards or of others
    assert set(listed) - set(metrics) - direct == set(opened)
    about_no_run = {"import_masks", "preview_masks", "resume_run", "sample_frames", "stop_run"}
    for name, params in opened.items():
        if name == "label_dataset":
            assert params["field"] == "auto_2", "a new field, so that nothing is overwritten"
        elif name not in about_no_run:
            assert "auto" in params.values(), name


def test_a_run_that_appeared_is_shown_whatever_draws_the_panel(labelled, fill, panel):
    _, state = panel(labelled, "on_load")
    fill("later", images=4)
    _, seen = panel(labelled, "on_load", state)  # the App has drawn its page anew
    assert seen["run"] == "pseudomask_later"
    _, naming = panel(labelled, "start_naming", state)
    _, seen = panel(labelled, "on_load", naming)
    assert seen["run"] == "pseudomask_later"
    _, chosen = panel(labelled, "choose_run", state, value="pseudomask_auto")
    assert chosen["run"] == "pseudomask_auto"
    assert panel(labelled, "refresh", chosen)[1]["run"] == "pseudomask_auto"


def test_saved_views_are_opened(labelled, panel):
    _, state = panel(labelled, "on_load")
    sent, _ = panel(labelled, "show_saved", state, name="auto: accept")
    assert ("set_view", {"name": "auto: accept"}) in sent
    labelled.delete_saved_view("auto: accept")
    sent, _ = panel(labelled, "show_saved", state, name="auto: accept")
    assert "set_view" not in [name for name, _ in sent]


def test_the_comparison_is_shown_clicked_and_deleted(fo, labelled, fill, panel):
    from fiftyone_plugin.dataset.comparing import compare_runs
    from fiftyone_plugin.dataset.comparison import match_view

    fill("other", 1, images=4)
    _, state = panel(labelled, "on_load")
    stored = compare_runs(labelled, "auto", "other")
    sent, state = panel(
        labelled, "choose_other", {**state, "run": "pseudomask_auto"}, value="pseudomask_other"
    )
    data = filled(sent)
    assert sum(data["agreement"][0]["y"]) == 4
    assert [row["iou"] for row in data["pairs"]] == [f"{row.iou:.2f}" for row in stored.classes]
    assert data["pairs"][-1]["a"].startswith("class ")
    for method in ("show_disagreement", "forget_comparison"):
        messages = [name for name, _ in panel(labelled, method, state)[0]]
        assert ("set_view" in messages) == (method == "show_disagreement")
    labelled.reload()
    assert not labelled.has_sample_field(stored.field)
    stored = compare_runs(labelled, "auto", "other")
    for row in range(len(stored.classes)):
        sent, _ = panel(labelled, "click_pair", state, row=row)
        assert sent_view(fo, labelled, sent) == match_view(labelled, stored, row)
    found = app_summary.score_histogram(labelled, stored.field)
    for bar, count in enumerate(found.counts):
        sent, _ = panel(labelled, "click_agreement", state, idx=bar)
        assert len(sent_view(fo, labelled, sent)) == count


def test_runs_come_newest_first_and_an_interrupted_one_is_marked(labelled):
    from fiftyone_plugin.dataset.claiming import claim

    claim(labelled, "late", None, overwrite=False, restart=False)
    late, auto = app_summary.list_runs(labelled)
    assert late.title == "late (not complete)"
    assert auto.title == "auto (lightcluster, 5 images)"
    assert app_summary.stage_seconds(late) == {}


def undo_buttons(sent):
    """Return the label and what is sent of the buttons of the panel that take something back."""
    shown = [params["panel_output" if "panel_output" in params else "output"] for told, params in sent
             if told == "show_panel_output"][-1]  # fmt: skip
    row = shown["type"]["properties"]["steps"]["type"]["properties"]
    return {name: row[name]["view"] for name in ("undo", "undo_run") if name in row}


def test_undo_names_the_last_edit_and_takes_it_back(labelled, panel):
    from fiftyone_plugin.dataset.editing import hide_classes
    from fiftyone_plugin.dataset.editing.names import rename_classes

    before = dict(labelled.mask_targets["auto"])
    sent, state = panel(labelled, "on_load")
    assert undo_buttons(sent)["undo_run"]["label"] == "Undo this run"
    assert panel(labelled, "ask_delete", state)[1]["confirm"] == "pseudomask_auto"
    first, second = list(before)[:2]
    rename_classes(labelled, "auto", {first: "sky"})
    hide_classes(labelled, "auto", [second])
    sent, state = panel(labelled, "on_load")
    (button,) = undo_buttons(sent).values()
    assert button["label"] == f"Undo: classes hidden or shown ({before[second]})"
    number = button["params"]["number"]
    sent, state = panel(labelled, "take_back", state, number=number)
    assert labelled.mask_targets["auto"] == {**before, first: "sky"}
    assert "reload_dataset" in [told for told, _ in sent]
    (button,) = undo_buttons(sent).values()
    assert button["label"] == f"Undo: names changed ({before[first]} \u2192 sky)"
    sent, state = panel(labelled, "take_back", state, number=number)  # a second click on what was there
    assert [params["variant"] for told, params in sent if told == "notify"] == ["warning"]
    assert labelled.mask_targets["auto"] == {**before, first: "sky"}
    panel(labelled, "take_back", state, number=button["params"]["number"])
    assert labelled.mask_targets["auto"] == before
