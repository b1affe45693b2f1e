"""FiftyOne's operators, and the module of the one that a test is about."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
def foo(fo):
    import fiftyone.operators as foo

    return foo


@pytest.fixture
def module(operator):
    return sys.modules[type(operator).__module__]
