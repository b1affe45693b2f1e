"""Naming classes without a browser: the operator from Python, and the cards whatever the browser sends."""

from __future__ import annotations

import json
import sys
from copy import deepcopy

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.dataset.name_drafts import drafted
from fiftyone_plugin.dataset.record import finished_run

PANEL = f"{PLUGIN_NAME}/pseudomasks"
HERE = {"sitting": "s", "turn": 0}


@pytest.fixture
def labelled(dataset, fill):
    fill("auto", images=5)
    return dataset


@pytest.fixture
def press(foo, context):
    """``press(dataset, method, state, **params)``: an event of the panel; returns its state afterwards."""

    def press(dataset, method, state=None, **params):
        params = {"__method__": method, "panel_id": "p", "panel_state": deepcopy(state or {}), **params}
        ctx = context(PANEL, dataset, params)
        foo.get_operator(PANEL).execute(ctx)
        json.dumps(ctx.executor.to_json())
        return json.loads(json.dumps(ctx.panel.state._data))

    return press


def test_the_operator_writes_names_from_python_and_from_the_panel(foo, labelled, press):
    state = press(labelled, "start_naming")
    first, second, third = (card[0] for card in state["naming"]["cards"][:3])
    state = press(labelled, "name_card", state, value=["sky", "="])
    state = press(labelled, "name_card", state, value=["grass"])
    assert state["naming"]["at"] == 3
    assert drafted(labelled, finished_run(labelled, "auto")) == {first: "sky", second: "sky", third: "grass"}
    foo.get_operator(f"{PLUGIN_NAME}/name_classes")(labelled, "auto", {third: "lawn"})
    labelled.reload()
    names = list(labelled.mask_targets["auto_named"].values())
    assert names[:2] == ["sky", "lawn"]
    assert "grass" not in names
    assert len(labelled.exists("auto_named")) == 5
    state = press(labelled, "show_named", state)
    assert state["run"] == "pseudomask_auto_named"


def test_the_same_event_twice_counts_once_and_signs_do_what_they_say(labelled, press):
    start = press(labelled, "start_naming")
    total = len(start["naming"]["cards"])
    state = press(labelled, "name_card", start, value=["sky"])
    assert press(labelled, "name_card", start, value=["sky"]) == state
    state = press(labelled, "press", state, word="-")
    state = press(labelled, "press", state, word=">")
    assert state["naming"]["at"] == 3
    assert [card[1] for card in state["naming"]["cards"][:3]] == ["sky", "background", ""]
    state = press(labelled, "press", state, word="<")
    state = press(labelled, "name_card", state, value=["x" * 200, ""])
    assert state["naming"]["at"] == 3, "too long is refused, and nothing typed leaves the class as it is"
    state = press(labelled, "go_to_card", state, card=total - 1)
    state = press(labelled, "name_card", state, value=["a", "b", "c"])
    assert state["naming"]["at"] == total
    assert "c" not in drafted(labelled, finished_run(labelled, "auto")).values()
    assert "naming" not in press(labelled, "leave_naming", state)


@pytest.mark.parametrize(
    "naming",
    [
        1,
        {},
        {"run": "pseudomask_auto", "cards": [], "at": 0, "known": [], **HERE},
        {"run": "pseudomask_auto", "cards": [[1, "a", 0.1, 2, 0, 0.0]], "at": 9, "known": [], **HERE},
        {"run": "pseudomask_auto", "cards": [[1, "a", 0.1, 2, 0, 0.0]], "at": "x", "known": [], **HERE},
        {"run": "pseudomask_auto", "cards": [["1", "a", 0.1, 2, 0, 0.0]], "at": 0, "known": [], **HERE},
        {"run": "pseudomask_gone", "cards": [[1, "a", 0.1, 2, 0, 0.0]], "at": 0, "known": [], **HERE},
    ],
)
def test_a_state_that_is_not_sound_shows_the_run(labelled, press, naming):
    state = press(labelled, "name_card", {"run": "pseudomask_auto", "naming": naming}, value=["sky"])
    assert "naming" not in state
    assert state["classes"]
    assert drafted(labelled, finished_run(labelled, "auto")) == {}


def test_similar_names_are_offered_once(foo, labelled, press):
    naming = sys.modules[type(foo.get_operator(PANEL)).__module__.replace("pseudomasks", "naming")]
    state = press(labelled, "start_naming")
    state = press(labelled, "name_card", state, value=["sky", "sky", "road"])
    assert naming.Naming.of_state(state["naming"]).known == ["road", "sky"]
