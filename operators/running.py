"""How long work runs: where, with what progress, and how it ends in words instead of a traceback."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import nullcontext
from typing import TypedDict, TypeVar

import fiftyone as fo
from fiftyone.operators import ExecutionContext

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.common.progress import CallbackProgress, Progress
from fiftyone_plugin.dataset.database import alone
from fiftyone_plugin.errors import PseudoMaskError, UsageError

from .database import DatabaseLost
from .forms.fields import problem_output

__all__ = [
    "DELEGATE_ABOVE_S",
    "LEAVING_S",
    "LEAVING_TRIES",
    "StageState",
    "describe_stage",
    "end_work",
    "has_view",
    "in_app",
    "is_labelling",
    "is_shown_here",
    "is_view_gone",
    "note_work",
    "read_again",
    "run_with_progress",
    "show_anew",
    "show_colours",
    "show_masks",
    "stream_or_run",
    "work_of",
]

logger = logging.getLogger(__name__)
T = TypeVar("T")

DELEGATE_ABOVE_S = 300.0
"""Work of more seconds than this is scheduled unless a person wants it otherwise: half the App's limit."""

INTERVAL_S = 1.0  # the App freezes when it is told more often
PANEL = "pseudomasks"
RELOADING_S = 1.0  # colours that come while the App loads the dataset anew leave its grid empty
SAFE_SHARE = 0.9  # of the App's limit for an operator
RATE_AFTER_S = 2.0  # before that, a rate says nothing
_labelling: dict[tuple[str, str], float] = {}  # dataset and field -> when its operator ends
MOMENT_S = 60.0
LEAVING_TRIES, LEAVING_S = 40, 0.25
"""How often, and how many seconds apart, it is looked whether the App has left a view as it was told."""
_working: dict[str, tuple[float, str]] = {}  # dataset -> when work on it was told of last, and what was told
BEGINS = "Begins"
REFUSED, STOPPED, FAILED = "This cannot be done", "Stopped, and kept what is done", "This failed"


def in_app(ctx: ExecutionContext) -> bool:
    """Tell whether a person waits for this execution in the App: neither delegated nor called from Python."""
    return not ctx.delegated and "operator_uri" in ctx.request_params  # the App's requests name it


def is_labelling(dataset: fo.Dataset, field: str) -> bool:
    """Tell whether an operator of this process labels a field at this moment."""
    return _labelling.get((dataset.name, field)) == math.inf


def is_shown_here(dataset: fo.Dataset, field: str) -> bool:
    """Tell whether an operator of this process shows the masks that it labels, or did a moment ago."""
    known = _labelling.get((dataset.name, field))
    return known is not None and time.monotonic() - known < MOMENT_S


def work_of(dataset: str) -> str | None:
    """Return how far work is whose window has closed, in words; ``None`` where there is none."""
    at, text = _working.get(dataset, (-math.inf, ""))
    return text if time.monotonic() - at < MOMENT_S else None


def note_work(dataset: str, text: str = BEGINS) -> None:
    """Note for the panel how far work is whose window has closed."""
    _working[dataset] = time.monotonic(), text


def end_work(dataset: str) -> None:
    """Note for the panel that work whose window has closed is done."""
    _working.pop(dataset, None)


def show_colours(ctx: ExecutionContext) -> object:
    """Return the request that paints this session's masks as the dataset has it saved."""
    from fiftyone_plugin.dataset.colours import saved_scheme

    return ctx.trigger("set_color_scheme", saved_scheme(ctx.dataset))


def has_view(ctx: ExecutionContext) -> bool:
    """Tell whether the App shows a view, saved or not, instead of the whole dataset."""
    return bool(ctx.request_params.get("view_name") or ctx.request_params.get("view"))


def show_anew(ctx: ExecutionContext, *fields: str, tries: int = 0, read: bool = False) -> object:
    """Return the request that looks whether the App shows these fields, see :mod:`.show_anew`.

    ``tries`` is how often it was looked; with ``read``, the App reads the dataset again once it shows it all.
    """
    params = {"fields": list(fields), "tries": tries, "read": read}
    return ctx.trigger(f"{PLUGIN_NAME}/show_anew", params)


def read_again(ctx: ExecutionContext) -> list[object]:
    """Return the messages that have the App read the dataset again; from a view that is gone it goes back.

    Loading the page of a saved view that is gone breaks the App, where there are other saved views: the
    server of FiftyOne 1.22 then answers with one of them where stages have to be (``Dataset.stages`` in
    ``fiftyone/server/query.py``: the loop over the views takes the name of the argument that is returned).
    """
    if in_app(ctx) and is_view_gone(ctx):
        return [ctx.ops.clear_view(), show_anew(ctx, read=True)]
    return [ctx.ops.reload_dataset()]


def is_view_gone(ctx: ExecutionContext) -> bool:
    """Tell whether the App shows a saved view that was deleted."""
    view = ctx.request_params.get("view_name")
    try:
        return isinstance(view, str) and not ctx.dataset.has_saved_view(view)
    except Exception:  # the dataset or the database has gone with it, which is told elsewhere
        return False


def show_masks(ctx: ExecutionContext, *fields: str) -> Generator[object, None, None]:
    """Yield the messages that show what was just written, and masks in their colours; fields, if given."""
    for field in fields:
        _labelling[ctx.dataset.name, field] = time.monotonic()
    yield from read_again(ctx)
    time.sleep(RELOADING_S if in_app(ctx) else 0.0)
    if fields:
        yield ctx.ops.set_active_fields(list(fields))
    yield show_colours(ctx)
    if fields and in_app(ctx):
        yield show_anew(ctx, *fields)


# ---------------------------------------------------------------------- running


def run_with_progress(
    ctx: ExecutionContext, work: Callable[[Progress], T], *, field: str = "", apart: bool = False
) -> Generator[object, None, T]:
    """Run ``work(progress)``; a generator that returns what it returned.

    In an immediate run the work goes on in a thread. The panel shows how far a run of masks is: the App's own
    window would come back with every message and take the keyboard; it is left to work that has its form
    open. A delegated run has no App, its progress is stored with the operation. Work in the App ends with
    :class:`RunStopped` before the App's limit is reached, a delegated run when its operation is marked as
    failed (``fiftyone delegated fail``).

    A run that fills a ``field`` of masks notes in its own folder how far it is: the panel looks there. Of
    work ``apart`` from a form, which has closed, the panel is told, see :func:`work_of`.
    """
    describe, apart = _describer(), apart and in_app(ctx)
    check = _cancelled(ctx) if ctx.delegated else _deadline(ctx)
    states: queue.Queue[StageState | None] = queue.Queue()
    outcome: Future[T] = Future()

    def tell(stage: str, done: int, total: int | None) -> None:
        check()
        state = describe(stage, done, total)
        if ctx.delegated:
            ctx.set_progress(**state)
        else:
            states.put(state)

    if ctx.delegated:
        return work(CallbackProgress(tell, INTERVAL_S))
        yield  # a generator in both modes

    def target() -> None:
        try:
            with nullcontext() if field else alone(ctx.dataset.name):
                result = work(CallbackProgress(tell, INTERVAL_S))
            outcome.set_result(result)
        except BaseException as error:  # handed over to the operator's own thread below
            outcome.set_exception(error)
        finally:
            states.put(None)

    thread = threading.Thread(target=target, name="pseudomask", daemon=True)
    begun, mine = False, (ctx.dataset.name, field)
    if field:
        end_work(ctx.dataset.name)
    _labelling[mine] = math.inf
    thread.start()
    try:
        while (state := states.get()) is not None:
            if apart and not field:
                note_work(ctx.dataset.name, state["label"])
            elif not field:
                yield ctx.ops.set_progress(**state)
            elif not begun:
                begun = True
                yield ctx.ops.open_panel(PANEL, is_active=True, layout="horizontal")
    finally:
        _labelling[mine] = time.monotonic()
    return outcome.result()


def stream_or_run(ctx: ExecutionContext, steps: Generator[object, None, object]) -> object:
    """Give FiftyOne what it can use of an operator's steps: a stream for the App, a result when delegated.

    The value that a generator returns would not be stored with a delegated operation. In the App an error
    ends the stream with its message; from Python and in a delegated operation it is raised.
    """
    if in_app(ctx):
        return _told(ctx, steps)
    if not ctx.delegated:
        return steps
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def _told(ctx: ExecutionContext, steps: Generator[object, None, object]) -> Generator[object, None, None]:
    """Stream the steps; an exception would only cut the stream, so it is told instead."""
    try:
        yield from steps
    except UsageError as error:  # nothing has begun
        yield from _problem(ctx, REFUSED, str(error))
    except PseudoMaskError as error:
        from fiftyone_plugin.runs.stopping import RunStopped

        yield from _problem(ctx, STOPPED if isinstance(error, RunStopped) else REFUSED, str(error))
        if not isinstance(error, DatabaseLost):  # it would show the App's own page of errors
            yield from read_again(ctx)
    except Exception as error:
        logger.exception("%s failed", ctx.operator_uri)
        text = f"{type(error).__name__}: {error}. The log of the App's server has more"
        yield from _problem(ctx, FAILED, text)
        yield from read_again(ctx)
    finally:
        end_work(ctx.dataset_name)


def _problem(ctx: ExecutionContext, title: str, text: str) -> list[object]:
    """Return the messages that show a problem where the result would be."""
    shown = problem_output(title, text).to_json()
    return [ctx.ops.show_output(shown, {}), ctx.ops.notify(text, variant="error")]


# ---------------------------------------------------------------------- ending early


def _deadline(ctx: ExecutionContext) -> Callable[[], None]:
    """Return what raises once the time that the App leaves an operator is nearly over; never outside it."""
    limit = fo.config.operator_timeout
    end = time.monotonic() + SAFE_SHARE * limit if in_app(ctx) and limit else math.inf

    def check() -> None:
        if time.monotonic() > end:
            from fiftyone_plugin.runs.stopping import RunStopped

            raise RunStopped(
                f"stopped ahead of the App's limit of {limit:.0f} s for work that is not scheduled"
            )

    return check


def _cancelled(ctx: ExecutionContext) -> Callable[[], None]:
    """Return what raises once a delegated operation is unwanted: ``fiftyone delegated fail`` marks it."""
    operation, looked = ctx.request_params.get("run_doc"), time.monotonic()

    def check() -> None:
        nonlocal looked
        if operation is None or time.monotonic() - looked < INTERVAL_S:
            return
        from fiftyone.operators.delegated import DelegatedOperationService
        from fiftyone.operators.executor import ExecutionRunState

        looked = time.monotonic()
        document = DelegatedOperationService().get(operation)
        if document is None or document.run_state == ExecutionRunState.FAILED:
            from fiftyone_plugin.runs.stopping import RunStopped

            raise RunStopped("the operation was marked as failed, or deleted")

    return check


# ---------------------------------------------------------------------- describing


class StageState(TypedDict):
    """The share of a stage that is done, and a line with its rate and the time left."""

    progress: float
    label: str


def _describer() -> Callable[[str, int, int | None], StageState]:
    """Return what turns a stage's counts into its state."""
    begun = "", 0.0

    def describe(stage: str, done: int, total: int | None) -> StageState:
        nonlocal begun
        now = time.monotonic()
        if stage != begun[0] or not done:
            begun = stage, now
        return describe_stage(stage, done, total, now - begun[1])

    return describe


def describe_stage(stage: str, done: int, total: int | None, seconds: float) -> StageState:
    """Describe a stage that has run for so many seconds."""
    label = f"{stage}: {done:,}" + (f" of {total:,}" if total else "")
    if done and seconds >= RATE_AFTER_S:
        rate = done / seconds
        label += f", {rate:.1f} a second" if rate >= 1 else f", {1 / rate:.1f} s each"
        if total and done < total:
            from fiftyone_plugin.runs.estimate import format_seconds

            label += f", {format_seconds(seconds / done * (total - done))} left"
    return {"progress": min(1.0, done / total) if total else 0.0, "label": label}
