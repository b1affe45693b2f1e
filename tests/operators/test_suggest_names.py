"""Names that a model suggests: the form, what is missing, and the cards; with a tiny random model."""

from __future__ import annotations

import json

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.name_drafts import drafted, ideas_of, keep_ideas
from fiftyone_plugin.dataset.record import read_record
from fiftyone_plugin.runs.name_ideas import suggest_names

URI = f"{PLUGIN_NAME}/suggest_names"
WORDS = ["cat", "cup of coffee", "sky"]
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def labelled(dataset, fill):
    fill("auto")
    return dataset


def test_without_open_clip_the_form_says_what_is_missing(form, labelled, monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    properties = form(URI, labelled)
    assert "pip install" in properties["field"].error_message
    assert "words" not in properties


def test_words_and_models_that_cannot_be(form, foo, labelled):
    pytest.importorskip("open_clip")
    assert form(URI, labelled, words="cat")["words"].invalid
    assert not form(URI, labelled, words="cat, sky")["words"].invalid
    with pytest.raises(Exception, match="no architecture"):
        foo.get_operator(URI)(labelled, "auto", WORDS, "nothing=weights.pt")


def test_suggestions_are_kept_and_taken_by_their_buttons(foo, labelled, panel, tmp_path):
    open_clip = pytest.importorskip("open_clip")
    import torch

    (tmp_path / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    torch.save(open_clip.create_model("tiny-clip").state_dict(), tmp_path / "weights.pt")
    model = f"tiny-clip={tmp_path / 'weights.pt'}"
    foo.get_operator(URI)(labelled, "auto", WORDS, model)
    run = read_record(labelled, "pseudomask_auto")
    found = ideas_of(labelled, run)
    assert found == suggest_names(run.out, WORDS, model)
    assert drafted(labelled, run) == {}, "nothing is taken unasked"

    sent, state = panel(labelled, "start_naming")
    cluster = state["naming"]["cards"][0][0]
    best, score = found[cluster][0]
    buttons = shown_buttons(sent)
    assert buttons["idea_0"]["label"] == f"{best} ({score:.2f})"
    sent, after = panel(labelled, "take_idea", state, **buttons["idea_0"]["params"])
    assert drafted(labelled, run) == {cluster: best}
    assert after["naming"]["at"] == 1
    _, again = panel(labelled, "take_idea", after, **buttons["idea_0"]["params"])  # the App sends it twice
    assert again["naming"]["at"] == 1
    panel(labelled, "take_idea", after, name="of nobody", card=1)
    assert drafted(labelled, run) == {cluster: best}


def test_a_suggestion_that_looks_like_a_sign_is_not_one(labelled, panel):
    run = read_record(labelled, "pseudomask_auto")
    _, state = panel(labelled, "start_naming")
    keep_ideas(labelled, run, {state["naming"]["cards"][0][0]: [(">", 0.5)]})
    _, after = panel(labelled, "take_idea", state, name=">", card=0)
    assert after["naming"]["at"] == 0


def shown_buttons(sent):
    """Return the buttons of the row of suggestions."""
    output = next(params for told, params in sent if told == "show_panel_output")
    row = output["output"]["type"]["properties"]["ideas"]["type"]["properties"]
    return {name: each["view"] for name, each in row.items()}
