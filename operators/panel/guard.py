"""A panel whose hooks end in words, whatever the browser sends and whatever became of the dataset."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sized
from typing import ClassVar

import fiftyone.operators as foo
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.database import alone
from fiftyone_plugin.errors import PseudoMaskError, UsageError

from ..base import open_dataset
from ..database import DatabaseLost, in_words
from ..forms.fields import show_text
from ..params import finite
from ..running import LEAVING_S, LEAVING_TRIES, has_view, is_view_gone, work_of

__all__ = ["WORK", "Event", "GuardedPanel", "list_of", "row_of", "text_of"]

logger = logging.getLogger(__name__)

WAIT_S = 10.0  # for fields that are being written
WORK = "work"  # the text of the panel's data that says how far work on the dataset is
Event = Callable[[ExecutionContext], object]
TRIES = "tries"  # the value of an event that says how often it has waited for the App to leave its view
QUIET = "watch"  # an event that says whether the panel has to be drawn anew


class GuardedPanel(foo.Panel):
    """A panel that tells in a sentence what went wrong; events that it does not know are refused.

    Attributes:
        leave_for: events that delete what a view may show or filter by; the App leaves its view before.
    """

    leave_for: ClassVar[tuple[str, ...]] = ()

    def refresh(self, ctx: ExecutionContext) -> None:
        """Read everything again."""
        raise NotImplementedError

    def _prompt(
        self, ctx: ExecutionContext, name: str, params: Mapping[str, object], then: Event | None = None
    ) -> None:
        """Open the form of an operator with some of its values; ``then`` follows when it has succeeded."""
        ctx.prompt(f"{self.plugin_name}/{name}", params=params, on_success=then)

    def execute(self, ctx: ExecutionContext) -> object:
        """Do what an event asks, and lay the panel out."""
        if ctx.params.get(TRIES):
            time.sleep(LEAVING_S)  # before the dataset is held
        try:
            with in_words():
                quiet = ctx.params.get("__method__") == QUIET
                with alone(ctx.dataset_name, 0.0 if quiet else WAIT_S) as held:
                    if quiet and not held:  # fields are being written: nothing else is new before they are
                        if text := work_of(ctx.dataset_name):
                            ctx.ops.patch_panel_data({WORK: text})
                        return None
                    if self._leaves_view(ctx):
                        return None
                    _check_request(self, ctx)
                    if not quiet:
                        return super().execute(ctx)
                    if getattr(self, QUIET)(ctx):
                        ctx.ops.show_panel_output(self.render(ctx))
                    return None
        except PseudoMaskError as error:
            self._tell(ctx, str(error), stays=not isinstance(error, DatabaseLost))
        except Exception as error:
            logger.exception("the panel failed at %s", ctx.params.get("__method__"))
            text = f"{type(error).__name__}: {error}. The log of the App's server has more"
            self._tell(ctx, text, stays=False)
        return None

    def _leaves_view(self, ctx: ExecutionContext) -> bool:
        """Have the App leave a view that is gone or may go with this event, and send the event again.

        With every state that a panel is given the App loads the page of its address, see
        :func:`..running.read_again`: nothing may be told while that is of a view that is gone.
        """
        gone = is_view_gone(ctx)
        if not gone and not (ctx.params.get("__method__") in self.leave_for and has_view(ctx)):
            return False
        tries = ctx.params.get(TRIES)
        tries = tries if type(tries) is int else 0
        if tries >= LEAVING_TRIES:
            if gone:
                raise UsageError("the App shows a view that is gone: reload the page without it")
            return False
        if not tries:
            ctx.ops.clear_view()
        ctx.trigger(self.uri, {**ctx.params, TRIES: tries + 1})
        return True

    def _tell(self, ctx: ExecutionContext, text: str, *, stays: bool) -> None:
        """Show a problem as a toast, and in place of the panel where that cannot be laid out."""
        ctx.ops.notify(text, variant="error")
        if stays:
            try:
                with in_words():
                    ctx.ops.show_panel_output(self.render(ctx))
                return
            except Exception:
                logger.exception("the panel cannot be laid out")
        panel = types.Object()
        panel.view("problem", types.Warning(label="This cannot be shown now", description=text))
        ctx.ops.show_panel_output(show_text(types.Property(panel, view=types.GridView(padding=1))))


def _check_request(panel: foo.Panel, ctx: ExecutionContext) -> None:
    """Open the dataset of an event, and check its name.

    Raises:
        UsageError: the dataset is gone, or there is no such event.
    """
    name = ctx.params.get("__method__")
    if name is None or name == "on_startup":
        return
    if not isinstance(name, str) or name.startswith("_") or not callable(getattr(type(panel), name, None)):
        raise UsageError("the panel knows no such event: reload the page")
    if not isinstance(ctx.panel_state, dict):
        raise UsageError("the state of the panel cannot be read: reload the page")
    if ctx.dataset_name is not None or ctx.dataset_id is not None:
        open_dataset(ctx)


def row_of(number: object, rows: object) -> int | None:
    """Return the number of a row that an event speaks of; ``None`` if there is none (any more)."""
    number, count = finite(number), len(rows) if isinstance(rows, Sized) else 0
    return int(number) if number is not None and 0 <= number < count and number == int(number) else None


def list_of(value: object) -> list[object]:
    """Return a value of the state that is a list, else an empty one."""
    return value if isinstance(value, list) else []


def text_of(value: object) -> str | None:
    """Return a value of an event that is a text, else ``None``."""
    return value if isinstance(value, str) else None
