"""Want of memory, in the words of the libraries."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from fiftyone_plugin.cli.main import main
from fiftyone_plugin.common.memory import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("libtorch.so: failed to map segment: Cannot allocate memory"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (RuntimeError("shapes differ"), False),
        (ValueError("out of memory"), False),
    ],
    ids=repr,
)
def test_what_is_want_of_memory(error, expected):
    assert is_out_of_memory(error) is expected


def test_an_array_that_is_too_large():
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    assert is_out_of_memory(caught.value)


def test_a_command_says_it_in_one_line(monkeypatch, capsys):
    def fail(args):
        raise MemoryError

    monkeypatch.setattr("fiftyone_plugin.cli.doctor.run", fail)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "pseudomask: not enough memory; close other programs, or give this one more"
    ]
