"""Operator ``show_anew``: looks whether the App shows what it was told to, and tells it again if not."""

from __future__ import annotations

import time

from fiftyone.operators import ExecutionContext

from .base import PseudoMaskOperator, Result, entry
from .params import Params
from .running import LEAVING_S, LEAVING_TRIES, has_view, show_anew, show_colours

__all__ = ["ShowAnew"]

SEEN = 3  # looks at which fields have to be shown: what comes while a page is loaded is lost with it


class ShowAnew(PseudoMaskOperator):
    """Reads the dataset again as soon as the App shows all of it, and shows fields until the App has them.

    The App says with every request which view and which fields it shows; a message that comes while it
    loads a page may be lost, which takes long on a machine with other work.
    """

    listed = entry(
        "Show the dataset anew",
        "refresh",
        unlisted=True,
        allow_delegated_execution=False,
        execute_as_generator=False,
    )

    def execute(self, ctx: ExecutionContext) -> Result:
        """Do what is left to do, or look again in a moment; nothing is opened, as the view may be gone."""
        params = Params(ctx.params, lenient=True)
        tries = params.whole("tries", 0, 0, LEAVING_TRIES)
        named = params.values.get("fields")
        fields = [each for each in named if isinstance(each, str)] if isinstance(named, list) else []
        read = params.flag("read")
        if tries >= LEAVING_TRIES:
            if read:
                ctx.ops.notify("Reload the page: what it shows is out of date", variant="warning")
            return {}
        if read and not has_view(ctx):
            ctx.ops.reload_dataset()
            read = False
        elif not read and tries >= SEEN and _shows(ctx, fields):
            return {}
        elif not read and not _shows(ctx, fields):
            ctx.ops.set_active_fields(fields)
            show_colours(ctx)
        if read or fields:
            time.sleep(LEAVING_S)
            show_anew(ctx, *fields, tries=tries + 1, read=read)
        return {}


def _shows(ctx: ExecutionContext, fields: list[str]) -> bool:
    shown = ctx.request_params.get("active_fields")
    return isinstance(shown, list) and all(field in shown for field in fields)
