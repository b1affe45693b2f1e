"""The process of the tests stays as it is, whatever a command does to it."""

from __future__ import annotations

import logging
import warnings

import pytest


@pytest.fixture(autouse=True)
def process_as_found():
    """The command sets up the logging and the warnings of its process, which here is everybody's."""
    package, show = logging.getLogger("fiftyone_plugin"), warnings.showwarning
    handlers = list(package.handlers)
    yield
    package.handlers[:] = handlers
    warnings.showwarning = show
