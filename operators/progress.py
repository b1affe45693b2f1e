"""Progress of long work to where the operator runs: the App's dialog, or the delegated operation's record."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import Any

__all__ = ["run_with_progress", "stream_or_run"]

INTERVAL_S = 1.0  # the App freezes when it is told more often


def run_with_progress(ctx: Any, work: Callable[[Any], Any]) -> Generator[Any, None, Any]:
    """Run ``work(progress)`` and stream its stages; a generator that returns what ``work`` returned.

    In an immediate run the work goes on in a thread while this generator yields progress to the App; a
    delegated run has no App, its progress is stored with the operation.

    Args:
        ctx: FiftyOne's execution context.
        work: called with a :class:`fiftyone_plugin.progress.CallbackProgress`.
    """
    from fiftyone_plugin.progress import CallbackProgress

    if ctx.delegated:
        return work(CallbackProgress(lambda *state: ctx.set_progress(**_describe(*state)), INTERVAL_S))
        yield  # a generator in both modes
    states: queue.Queue[tuple[str, int, int | None] | None] = queue.Queue()
    outcome: dict[str, Any] = {}

    def target() -> None:
        try:
            outcome["result"] = work(CallbackProgress(lambda *state: states.put(state), INTERVAL_S))
        except BaseException as error:  # handed over to the operator's own thread below
            outcome["error"] = error
        finally:
            states.put(None)

    thread = threading.Thread(target=target, name="pseudomask", daemon=True)
    thread.start()
    while (state := states.get()) is not None:
        yield ctx.ops.set_progress(**_describe(*state))
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def stream_or_run(ctx: Any, steps: Generator[Any, None, dict[str, Any]]) -> Any:
    """Give FiftyOne what it can use of an operator's steps: a stream for the App, a result when delegated.

    The value that a generator returns would not be stored with a delegated operation.

    Args:
        ctx: FiftyOne's execution context.
        steps: yields messages for the App and returns the operator's result.
    """
    if not ctx.delegated:
        return steps
    result: list[dict[str, Any]] = []

    def collect() -> Generator[Any, None, None]:
        result.append((yield from steps))

    for _ in collect():
        pass
    return result[0]


def _describe(stage: str, done: int, total: int | None) -> dict[str, Any]:
    share = min(1.0, done / total) if total else 0.0
    return {"progress": share, "label": f"{stage}: {done}" + (f" of {total}" if total else "")}
