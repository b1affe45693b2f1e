"""Progress of long work: one bar a stage, with rate and time left, or a callback, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

__all__ = ["CallbackProgress", "CheckedProgress", "ConsoleProgress", "NullProgress", "Progress", "Stage"]
__all__ += ["TimedProgress", "annotate"]


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
    if (show := getattr(stage, "set_postfix_str", None)) is not None:
        show(text, refresh=False)


class _Reporting:
    """A stage that calls ``report`` at every update; all else is that of ``inner``, if there is one."""

    def __init__(self, report: Callable[[int], object], inner: Stage | None = None) -> None:
        self._report = report
        self._inner = inner

    def update(self, n: int = 1) -> None:
        self._report(n)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


class NullProgress:
    """Reports nothing."""

    @contextmanager
    def stage(self, name: str, total: int | None = None, unit: str = "img") -> Iterator[Stage]:
        """Open a silent stage."""
        yield _Reporting(lambda n: None)


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
        done, last = 0, time.monotonic()

        def report(n: int) -> None:
            nonlocal done, last
            done += n
            if (now := time.monotonic()) - last >= self.interval:
                last = now
                self.callback(name, done, total)

        self.callback(name, 0, total)
        yield _Reporting(report)
        self.callback(name, max(done, total or 0), total)


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

            def report(n: int) -> None:
                stage.update(n)
                self.check()

            yield _Reporting(report, stage)
