"""Operator ``label_dataset``: the choice of the method."""

from __future__ import annotations

import numpy as np
import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.methods.registry import list_methods

URI = f"{PLUGIN_NAME}/label_dataset"

pytestmark = pytest.mark.usefixtures("backbone")


def test_the_form_offers_every_method(form, dataset):
    method = form(URI, dataset)["method"]
    assert method.type.values == list_methods()
    assert method.default == "mosaic"


def test_the_chosen_method_labels_the_view(foo, dataset):
    view = dataset.limit(2)
    foo.get_operator(URI)(view, "segments", classes=3, method="datus")
    record = dataset.get_run_info("pseudomask_segments").config.serialize()
    assert "datus" in str(record)
    for sample in view:
        mask = sample["segments"].get_mask()
        assert mask.min() >= 1  # this method leaves no pixel without a class
        assert len(np.unique(mask)) <= 3
