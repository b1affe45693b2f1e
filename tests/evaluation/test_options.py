from __future__ import annotations

import dataclasses

import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.evaluation import EvaluationOptions, Mapping


def test_public_arguments_become_options():
    options = EvaluationOptions.of(None, ["sky", "sea"], [255, 3, 3], Mapping({1: 1}, "majority"), seed=4)
    assert (options.protocol, options.classes) == ("majority", {0: "sky", 1: "sea"})
    assert (options.ignore, options.seed, options.replicates) == ((3, 255), 4, 1000)
    assert EvaluationOptions.of() == EvaluationOptions()
    stored = EvaluationOptions.of(mapping=Mapping({1: 2}, "majority", names={2: "sea"}).to_dict())
    assert stored.mapping == Mapping({1: 2}, "majority", names={2: "sea"})


def test_options_are_not_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EvaluationOptions().seed = 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"protocol": "best"}, "unknown protocol 'best'"),
        ({"replicates": -1}, "replicates is -1"),
        ({"replicates": 10**7}, "not within 0..1,000,000"),
        ({"protocol": "foreground", "mapping": Mapping({}, "majority")}, "learns no mapping"),
    ],
)
def test_impossible_options_are_refused_when_they_are_made(wrong, message):
    with pytest.raises(UsageError, match=message):
        EvaluationOptions(**wrong)
