"""Ctrl-C and SIGTERM end a command, also where a library has swallowed the exception."""

from __future__ import annotations

import argparse
import contextlib
import signal

import pytest

from fiftyone_plugin.cli import main
from fiftyone_plugin.cli.interrupts import interruptible
from fiftyone_plugin.cli.shared import Exit, progress_of


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("quiet", [True, False])
def test_a_swallowed_interrupt_comes_back_at_the_next_image(number, quiet, monkeypatch, capsys):
    reached = []

    def run(args):
        with progress_of(argparse.Namespace(quiet=quiet)).stage("masks", total=3) as stage:
            for i in range(3):
                with contextlib.suppress(BaseException):  # what a bare except does
                    signal.raise_signal(number)
                reached.append(i)
                stage.update()
        return Exit.DONE

    monkeypatch.setattr("fiftyone_plugin.cli.methods.run", run)
    assert main(["methods"]) == Exit.INTERRUPTED
    assert reached == [0]
    assert capsys.readouterr().err.endswith("pseudomask: interrupted\n")


def test_handlers_are_as_before_and_an_old_signal_is_forgotten():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with interruptible() as received:
            assert received == []
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            assert received == [signal.SIGTERM]
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
