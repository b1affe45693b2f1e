"""Ctrl-C and SIGTERM: both end a command in order, also where a library swallows the exception they raise."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible", "raise_if_interrupted"]

_received: list[int] = []


@contextmanager
def interruptible() -> Iterator[list[int]]:
    """Let SIGTERM raise ``KeyboardInterrupt`` as SIGINT does, where nobody has set other handlers.

    Yields:
        the signals that have come, filled as they come.
    """

    def interrupt(number: int, frame: object) -> None:
        _received.append(number)
        raise KeyboardInterrupt

    _received.clear()
    ours = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: handler for number, handler in ours.items() if signal.getsignal(number) is handler}
    if threading.current_thread() is not threading.main_thread():  # others may not set handlers
        before = {}
    for number in before:
        signal.signal(number, interrupt)
    try:
        yield _received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_if_interrupted() -> None:
    """Raise ``KeyboardInterrupt`` once more where a signal has come and the command works on.

    Libraries have a bare ``except`` around what they import if it is there: an interrupt is lost there.
    """
    if _received:
        raise KeyboardInterrupt
