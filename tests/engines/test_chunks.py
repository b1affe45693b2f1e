"""Which chunk is done next: every item is answered once, whoever dies."""

from __future__ import annotations

import random

import pytest

from fiftyone_plugin.engines.base import Lost
from fiftyone_plugin.engines.chunks import ATTEMPTS, Chunks, in_order


@pytest.mark.parametrize("seed", range(20))
def test_every_item_is_answered_once_and_in_order(seed):
    rng = random.Random(seed)
    items, killers = list(range(rng.randrange(60))), {rng.randrange(60) for _ in range(3)}
    chunks = Chunks(iter(items), rng.randrange(1, 9), ahead=4)
    deaths = dict.fromkeys(killers, 0)

    def answers():
        hands = []
        while not chunks.done:
            while len(hands) < 3 and (task := chunks.take()):
                hands.append(task)
            if not hands:
                continue
            task = hands.pop(rng.randrange(len(hands)))
            fate = rng.random()
            if killed := [item for item in task.items if item in killers]:
                deaths[killed[0]] += 1
                yield from chunks.died(task, "killed")
            elif fate < 0.2:
                chunks.give_back(task)
            else:
                yield from chunks.answer(task, [-item for item in task.items])

    found = list(in_order(answers()))
    assert [one.item if isinstance(one, Lost) else -one for one in found] == items
    assert {one.item for one in found if isinstance(one, Lost)} == killers & set(items)
    assert all(count <= 2 * ATTEMPTS for count in deaths.values())


def test_no_more_is_begun_than_may_wait():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    chunks = Chunks(items(), 5, ahead=3)
    first, *others = (chunks.take() for _ in range(4))
    assert others[-1] is None
    assert len(taken) == 15
    for task in others[:-1]:
        list(chunks.answer(task, task.items))
    assert chunks.take() is None  # the first is not done yet
    list(chunks.answer(first, first.items))
    assert chunks.take().items == [15, 16, 17, 18, 19]
