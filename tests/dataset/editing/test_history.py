"""Edits as the record of a run holds them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin.dataset.editing.history import ClassNames, Edit, pack, unpack

names = st.dictionaries(st.integers(1, 9), st.text(max_size=3), max_size=5)
both = st.builds(ClassNames, names, names)
areas = st.dictionaries(st.integers(0, 9).map(str), st.floats(0, 1), max_size=5)
status = st.sampled_from(["writing", "done", "undoing", "undone"])
notes = st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)


@st.composite
def edits(draw):
    """Edits upon edits: mostly each begins with what the one before it has left."""
    found = []
    for number in range(1, draw(st.integers(0, 5)) + 1):
        before = found[-1].after if found and draw(st.booleans()) else draw(both)
        known = found[-1].areas if found and draw(st.booleans()) else draw(areas)
        found.append(
            Edit(number, "rename", "2026", draw(status), draw(notes), draw(notes), before, draw(both), known)
        )
    return found


@given(edits())
def test_packed_and_unpacked_edits_are_the_same(history):
    assert unpack(json.loads(json.dumps(pack(history)))) == history


@given(edits(), edits())
def test_edits_of_earlier_versions_stand_before_packed_ones(old, new):
    whole = [edit.to_json() for edit in old]
    following = pack([*old, *new])[len(old) :]
    assert unpack([*whole, *following]) == [*old, *new]


def test_a_rename_of_one_class_of_a_thousand_is_small():
    shown = {id_: f"class {id_}" for id_ in range(1, 1001)}
    history = []
    for number in range(1, 51):
        after = {**shown, number: "thing"}
        history.append(Edit(number, "rename", "2026", "done", {}, {}, ClassNames(shown), ClassNames(after)))
        shown = after
    packed = pack(history)
    assert len(json.dumps(packed)) < len(json.dumps(history[0].to_json()))
    assert unpack(packed) == history


def test_what_cannot_be_read_ends_the_history():
    history = [
        Edit(n, "rename", "2026", "done", {}, {}, ClassNames({1: str(n - 1)}), ClassNames({1: str(n)}))
        for n in range(1, 4)
    ]
    packed = pack(history)
    for damaged in (None, 3, {"packed": True}, {**packed[1], "before": {"shown": 3}}):
        assert unpack([packed[0], damaged, packed[2]]) == history[:1]
