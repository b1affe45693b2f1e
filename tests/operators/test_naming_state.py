"""Names that are typed faster than the server answers fall on the cards that they were typed for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fiftyone_plugin.runs.name_sheet import ClusterCard
from operators.panel.naming_state import SITTINGS, Naming, new_words, sit, sitting


def naming(count=9):
    return Naming("run", [ClusterCard(i, "", 0.1, 1, 0, 0.0) for i in range(count)])


@pytest.mark.parametrize(
    ("words", "taken", "told", "new"),
    [
        (["a"], [], 0, ["a"]),
        (["a"], ["a"], 0, []),  # sent twice
        (["a"], ["a"], 1, ["a"]),  # the same name once more
        (["a", "b"], ["a"], 0, ["b"]),
        (["a"], ["a", "b"], 0, []),  # the first one late
        (["b"], ["a"], 0, ["b"]),  # the input is empty already, the turn not told yet
        (["b", "c"], ["a", "b"], 0, ["c"]),
        (["c"], ["a", "b"], 1, ["c"]),  # emptied by the answer to a
        (["c"], ["a", "b", "c"], 1, []),
        (["a"], ["a", None], 0, []),
        (["b"], ["a", None], 1, ["b"]),
        (["a"], ["x"], 7, ["a"]),
        ([], ["a"], 0, []),
    ],
)
def test_only_new_words_are_taken(words, taken, told, new):
    assert new_words(words, taken, told) == new


@given(st.data())
def test_every_name_falls_on_its_card_whatever_is_late_or_sent_twice(data):
    """A slow browser: it empties its input with any answer, and may be told of the turn only later."""
    person = sit(naming())
    names = [f"name {number}" for number in range(len(person.naming.cards))]
    typed, told, emptied, answers = [], 0, 0, []
    for name in names:
        typed.append(name)
        for _ in range(data.draw(st.integers(1, 3))):
            person.typed(typed, told)
        answers.append(person.naming.turn)
        if data.draw(st.booleans()):  # an answer arrives, an early one perhaps
            arrived = data.draw(st.sampled_from([each for each in answers if each >= emptied]))
            emptied, typed = arrived, []
            told = data.draw(st.integers(told, arrived))
    assert [card.name for card in person.naming.cards] == names
    assert person.naming.turn == len(names)


def test_signs_and_other_steps_lie_between_words():
    person = sit(naming())
    person.typed(["sky"], 0)
    person.step("=", typed=False)
    person.typed(["sky"], 0)  # late, of before
    assert [card.name for card in person.naming.cards[:3]] == ["sky", "sky", ""]
    person.go_to(7)
    person.typed(["sky"], person.naming.turn)
    assert person.naming.cards[7].name == "sky"
    assert person.naming.at == 8


def test_a_sitting_that_is_not_kept_begins_where_the_browser_is():
    first = sit(naming())
    first.typed(["a", "b"], 0)
    state = Naming.of_state(first.naming.to_state())
    for _ in range(SITTINGS):
        sit(naming())
    again = sitting(state)
    assert again is not first
    again.typed(["c"], state.turn)
    assert [card.name for card in again.naming.cards[:3]] == ["a", "b", "c"]
    assert sitting(state) is again
