"""Names on a terminal are text: nothing in them moves the cursor, clears the screen or forges a line."""

from __future__ import annotations

import errno
import io
import logging
import sys

import pytest

from fiftyone_plugin.cli import compare, label, main
from fiftyone_plugin.common.console import say
from fiftyone_plugin.common.tables import format_table
from fiftyone_plugin.errors import UsageError

NASTY = "a\x1b[2Jb\rc\nd\x07\u202ee\u2028f\x9bg"
SHOWN = r"a\x1b[2Jb\rc\nd\x07\u202ee\u2028f\x9bg"


@pytest.mark.parametrize("error", [False, True])
def test_each_argument_is_one_line(capsys, error):
    say(NASTY, 5, "b", error=error)
    output = capsys.readouterr()
    assert (output.err if error else output.out) == f"{SHOWN}\n5\nb\n"
    assert (output.out if error else output.err) == ""


def test_what_the_terminal_cannot_show_becomes_an_escape(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    say("café")
    stream.flush()
    assert stream.buffer.getvalue().replace(b"\r\n", b"\n") == b"caf\\xe9\n"


def test_output_that_leads_to_a_full_disk_is_one_line(monkeypatch, capsys):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(label, "run", fail)
    assert main(["label", "x", "--out", "y"]) == 2
    assert capsys.readouterr().err == "pseudomask: cannot write: [Errno 28] No space left on device\n"


def test_a_reader_that_has_gone_and_short_memory_are_no_tracebacks(monkeypatch, capsys):
    for error, code in ((BrokenPipeError(), 0), (MemoryError(), 2)):
        monkeypatch.setattr(label, "run", lambda _, error=error: (_ for _ in ()).throw(error))
        assert main(["label", "x", "--out", "y"]) == code
    assert capsys.readouterr().err.startswith("pseudomask: not enough memory")


def test_errors_and_warnings_are_one_line(monkeypatch, capsys):
    def fail(_):
        raise UsageError(f"cannot read {NASTY}")

    monkeypatch.setattr(compare, "run", fail)
    assert main(["compare", "a", "b"]) == 2
    assert capsys.readouterr().err == f"pseudomask: cannot read {SHOWN}\n"
    label.AboveBars().emit(logging.LogRecord("n", logging.WARNING, "p", 1, "skipping %s", (NASTY,), None))
    assert capsys.readouterr().err == f"skipping {SHOWN}\n"


def test_cells_of_a_table_are_text():
    assert format_table(["class"], [[NASTY]]).splitlines()[-1] == SHOWN
