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


class TestWithTheDataset:
    @pytest.fixture
    def ask(self, dataset, fill, monkeypatch):
        """``ask()`` returns table and bars of a run as in a new process, and how often it looked for bars."""
        from fiftyone_plugin.dataset import summary

        fill("auto")
        looked = []
        for name in ("HOT_S", "LONG_S"):
            monkeypatch.setattr(module, name, -1e9)
        found = summary._histogram
        monkeypatch.setattr(summary, "_histogram", lambda *given: looked.append(1) or found(*given))

        def ask():
            module._known.clear()
            figures = summary.class_rows(dataset, "auto"), summary.score_histogram(dataset, "auto_quality")
            return figures, len(looked)

        return ask

    def test_it_outlives_the_process_and_is_gone_with_the_dataset(self, ask, dataset, fo):
        first, _ = ask()
        again, looked = ask()
        assert (again, looked) == (first, 1)
        clone = dataset.clone()
        assert module._store(clone).list_keys() == []
        fo.delete_dataset(clone.name)

    def test_every_change_is_seen(self, ask, dataset):
        (_, bars), _ = ask()
        dataset.limit(1).set_values("auto_quality", [0.999])
        (_, changed), looked = ask()
        assert looked == 2
        assert changed.edges[-1] == pytest.approx(0.999)
        assert sum(changed.counts) == sum(bars.counts)

    @pytest.mark.parametrize("kept", [None, 5, {"state": None}, {"state": 1, "found": [1]}])
    def test_what_is_not_sound_is_looked_for_again(self, ask, dataset, kept):
        first, _ = ask()
        store = module._store(dataset)
        for name in store.list_keys():
            state = store.get(name)["state"]
            store.set(name, {**kept, "state": state} if isinstance(kept, dict) else kept)
        again, looked = ask()
        assert (again, looked) == (first, 2)
