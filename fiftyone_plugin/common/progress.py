"""Progress of long work: one bar a stage, with rate and time left, or a callback, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

__all__ = [
    "CallbackProgress",
    "CheckedProgress",
    "ConsoleProgress",
    "NullProgress",
    "Progress",
    "Stage",
    "TimedProgress",
    "annotate",
]


class Stage(Protocol):
    """A running stage; ``update(n)`` says that ``n`` more units are done."""

    def update(self, n: int = 1) -> object:
        """Advance by ``n`` units."""


class Progress(Protocol):
    """Where stages report to. ``stage`` is a context manager that yields a :class:`Stage`.

    A stage that ends without an exception is complete, also where fewer units than ``total`` were reported:
    images that cannot be read are found on the way.
    """

    def stage(self, name: str, total: int | None = None, unit: str = "img") -> AbstractContextManager[Stage]:
        """Open the stage ``name`` of ``total`` units (``None``: unknown)."""


def annotate(stage: Stage, text: str) -> None:
    """Show a few words, such as the loss, beside the bar of a stage; nothing where there is no bar."""
    show = getattr(stage, "set_postfix_str", None)
    if show is not None:
        show(text, refresh=False)


class _Silent:
    def update(self, n: int = 1) -> None:
        """Do nothing."""


class NullProgress:
    """Reports nothing."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Stage]:
        """Open a silent stage."""
        yield _Silent()


class ConsoleProgress:
    """One tqdm bar a stage on stderr, with rate and time left."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Stage]:
        """Open a bar labelled ``name``."""
        from tqdm.auto import tqdm

        with tqdm(total=total, desc=f"{name:<22}", unit=unit, dynamic_ncols=True, mininterval=0.2) as bar:
            yield bar
            bar.update(max(0, (total or 0) - bar.n))


class CallbackProgress:
    """Calls ``callback(stage, done, total)``, at most once every ``interval`` seconds and at both ends.

    An exception raised by the callback ends the run: that is how a caller cancels.
    """

    def __init__(self, callback: Callable[[str, int, int | None], object], interval: float = 0.5) -> None:
        self.callback = callback
        self.interval = interval

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Stage]:
        """Open a stage that reports to the callback."""
        callback, interval = self.callback, self.interval

        class _Reporter:
            done = 0
            last = time.monotonic()

            def update(self, n: int = 1) -> None:
                self.done += n
                now = time.monotonic()
                if now - self.last >= interval:
                    self.last = now
                    callback(name, self.done, total)

        reporter = _Reporter()
        callback(name, 0, total)
        yield reporter
        callback(name, max(reporter.done, total or 0), total)


class TimedProgress:
    """Passes everything on to ``inner`` and keeps the wall-clock seconds of every stage.

    Attributes:
        seconds: stage name -> seconds, summed over repeats. Stages do not nest, so the values add up.
    """

    def __init__(self, inner: Progress) -> None:
        self.inner = inner
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Stage]:
        """Open a stage of the wrapped progress and time it."""
        start = time.perf_counter()
        try:
            with self.inner.stage(name, total, unit) as stage:
                yield stage
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class CheckedProgress:
    """Passes everything on to ``inner``; ``check`` is called at every update, and ends work by raising."""

    def __init__(self, inner: Progress, check: Callable[[], object]) -> None:
        self.inner = inner
        self.check = check

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Stage]:
        """Open a stage of the wrapped progress."""
        self.check()
        with self.inner.stage(name, total, unit) as stage:
            yield _CheckedStage(stage, self.check)


class _CheckedStage:
    """A stage that checks at every update; everything else is the wrapped stage's."""

    def __init__(self, stage: Stage, check: Callable[[], object]) -> None:
        self._stage = stage
        self._check = check

    def update(self, n: int = 1) -> None:
        self._stage.update(n)
        self._check()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)
