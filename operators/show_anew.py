"""Operator ``show_anew``: has the App read the dataset again, once it shows no view that may be gone."""

from __future__ import annotations

import time
from typing import Any

from .base import PseudoMaskOperator, entry
from .running import LEAVING_S, LEAVING_TRIES, has_view, show_anew

__all__ = ["ShowAnew"]


class ShowAnew(PseudoMaskOperator):
    """Reads the dataset again as soon as the App shows all of it.

    Called by :func:`.running.show_anew` after the App was told to leave its view, which takes it a moment.
    """

    listed = entry(
        "Show the dataset anew",
        "refresh",
        unlisted=True,
        allow_delegated_execution=False,
        execute_as_generator=False,
    )

    def execute(self, ctx: Any) -> Any:
        """Read again, or look again in a moment; nothing is opened, as the view may be gone."""
        number = ctx.params.get("tries") if isinstance(ctx.params, dict) else None
        tries = number if type(number) is int else 0
        if not has_view(ctx):
            ctx.ops.reload_dataset()
        elif 0 <= tries < LEAVING_TRIES:
            time.sleep(LEAVING_S)
            show_anew(ctx, tries + 1)
        else:
            ctx.ops.notify("Reload the page: what it shows is out of date", variant="warning")
        return {}
