"""Figures are looked for once while no sample changes, and anew after every change."""

from __future__ import annotations

import pytest

from fiftyone_plugin.dataset import remembered as module
from fiftyone_plugin.dataset.remembered import remembered


@pytest.fixture
def ask(dataset, monkeypatch):
    """``ask()`` returns the sum of a field, and how often it was looked for so far."""
    monkeypatch.setattr(module, "HOT_S", -1e9)
    dataset.set_values("score", [1.0] * 7)
    looked = []

    def find():
        looked.append(1)
        return dataset.sum("score")

    return lambda: (remembered(dataset, "sum", find), len(looked))


def test_what_has_not_changed_is_not_looked_for_again(ask):
    assert [ask(), ask()] == [(7.0, 1), (7.0, 1)]


@pytest.mark.parametrize("change", ["set_values", "save", "delete", "add", "tag"])
def test_every_change_is_seen(change, ask, dataset, fo):
    assert ask() == (7.0, 1)
    if change == "set_values":
        dataset.limit(1).set_values("score", [3.0])
    elif change == "save":
        sample = dataset.first()
        sample["score"] = 3.0
        sample.save()
    elif change == "delete":
        dataset.delete_samples(dataset.limit(1))
    elif change == "add":
        dataset.add_sample(fo.Sample(filepath="more.jpg", score=2.0))
    else:
        dataset.limit(1).tag_samples("a")
    total = {"delete": 6.0, "tag": 7.0}.get(change, 9.0)
    assert [ask(), ask()] == [(total, 2), (total, 2)]


def test_nothing_is_kept_while_samples_change(ask, monkeypatch):
    monkeypatch.setattr(module, "HOT_S", 60.0)
    assert [ask(), ask()] == [(7.0, 1), (7.0, 2)]
