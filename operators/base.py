"""What all operators share: how they are listed, what they read, and how they end in words."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.operator import RiskLevel

from fiftyone_plugin.errors import PseudoMaskError, UsageError

from .database import first_line, in_words, is_database_error
from .forms.fields import block, refuse, show_text
from .params import Params
from .running import execution_options, in_app, stream_or_run

__all__ = ["PseudoMaskOperator", "images_of", "open_dataset", "target_view"]

PROBLEM = "problem"  # the entry of a result that holds what went wrong, where nothing can be raised
DEFAULTS = {
    "dynamic": True,
    "execute_as_generator": True,
    "allow_immediate_execution": True,
    "allow_delegated_execution": True,
    "risk_level": RiskLevel.LOW,
}


class PseudoMaskOperator(foo.Operator):
    """An operator whose form, work and result cannot end in a traceback for what a person gave.

    A subclass says how it is listed, adds inputs to a form (:meth:`form`), works (:meth:`steps`, or
    :meth:`result` where nothing is streamed) and lays its result out (:meth:`outputs`). All of these read the
    form's values through :class:`~.params.Params`, find a dataset opened, and may raise
    :class:`~fiftyone_plugin.errors.PseudoMaskError`.

    Attributes:
        listed: arguments of ``foo.OperatorConfig`` that differ from ``DEFAULTS``.
        title: heading of the form; ``None`` for an operator without one.
        submit: label of the button that submits the form; ``None`` for the App's own.
    """

    listed: ClassVar[dict[str, Any]]
    title: ClassVar[str | None] = None
    submit: ClassVar[str | None] = None

    # ------------------------------------------------------------------ what a subclass fills in

    def form(self, ctx: Any, inputs: Any, params: Params) -> None:
        """Add the inputs of the form."""

    def seconds(self, ctx: Any, params: Params) -> float:
        """Return about how long the work takes; long work is scheduled by default."""
        return 0.0

    def steps(self, ctx: Any, params: Params) -> Generator[Any, None, dict[str, Any]]:
        """Work, yielding messages for the App, and return the result."""
        raise NotImplementedError

    def result(self, ctx: Any, params: Params) -> dict[str, Any]:
        """Work and return the result, where ``listed`` has ``execute_as_generator=False``."""
        raise NotImplementedError

    def outputs(self, results: dict[str, Any]) -> Any:
        """Lay the result out."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what FiftyOne calls

    @property
    def config(self) -> Any:
        """How the App shows and runs the operator."""
        return foo.OperatorConfig(**DEFAULTS | self.listed)

    def resolve_execution_options(self, ctx: Any) -> Any:
        """Offer delegation first where the work would take long."""
        config = self.config
        if not (config.allow_immediate_execution and config.allow_delegated_execution):
            return super().resolve_execution_options(ctx)
        try:
            with in_words():
                open_dataset(ctx)
                return execution_options(self.seconds(ctx, Params(ctx.params, lenient=True)))
        except PseudoMaskError:  # the form says so
            return execution_options(0.0)

    def resolve_input(self, ctx: Any) -> Any:
        """Build the form; what cannot be done is marked, with the reason."""
        if self.title is None:
            return None
        inputs, params = types.Object(), Params(ctx.params, lenient=True)
        try:
            with in_words():
                open_dataset(ctx)
                self.form(ctx, inputs, params)
        except PseudoMaskError as error:
            inputs = types.Object()
            inputs.view(PROBLEM, types.Error(label="This cannot be done now", description=str(error)))
            block(inputs, "unusable", str(error))
        for name, message in params.problems.items():
            if name in inputs.properties:
                refuse(inputs, name, message)
            else:
                block(inputs, name, message)
        options = {"submit_button_label": self.submit} if self.submit else {}
        return show_text(types.Property(inputs, view=types.View(label=self.title, **options)))

    def execute(self, ctx: Any) -> Any:
        """Work: a stream of messages for the App, or the result of a delegated operation or a call."""
        if self.config.execute_as_generator:
            return stream_or_run(ctx, self._begin(ctx))
        try:
            with in_words():
                open_dataset(ctx)
                return self.result(ctx, Params(ctx.params))
        except PseudoMaskError as error:
            if not in_app(ctx):
                raise
            ctx.ops.notify(str(error), variant="error")
            return {PROBLEM: str(error)}

    def _begin(self, ctx: Any) -> Generator[Any, None, dict[str, Any]]:
        with in_words():
            open_dataset(ctx)
            return (yield from self.steps(ctx, Params(ctx.params)))

    def resolve_output(self, ctx: Any) -> Any:
        """Show the result, or what went wrong."""
        results = ctx.results if isinstance(ctx.results, dict) else {}
        if PROBLEM not in results:
            return show_text(self.outputs(results))
        outputs = types.Object()
        label = "This cannot be done"
        outputs.view(PROBLEM, types.Warning(label=label, description=str(results[PROBLEM])))
        return show_text(types.Property(outputs, view=types.View(label="Pseudo-masks")))


# ---------------------------------------------------------------------- what a request is about


def open_dataset(ctx: Any) -> None:
    """Open the dataset and the view of a request, which FiftyOne then keeps with it.

    Raises:
        UsageError: there is none, or none any more.
    """
    with in_words():
        try:
            dataset, _ = ctx.dataset, ctx.view
        except Exception as error:
            if is_database_error(error):
                raise
            text = f"the dataset or its view cannot be opened ({first_line(error)}): open one that is there"
            raise UsageError(text) from None
    if dataset is None:
        raise UsageError("open a dataset first")


def target_view(ctx: Any, *, require_flat: bool = False) -> Any:
    """Return the samples that the form is about: the view, the dataset or what is selected.

    Args:
        ctx: FiftyOne's execution context.
        require_flat: of a grouped dataset, take the active slice.

    Raises:
        UsageError: it cannot be told which these are.
    """
    try:
        return ctx.target_view(require_flat=require_flat)
    except Exception as error:
        if is_database_error(error):
            raise
        raise UsageError(
            f"the samples cannot be told from the selection ({first_line(error)}): select anew"
        ) from None


def images_of(ctx: Any, *fields: str) -> Any:
    """Return the view; of a grouped dataset the slices of images that hold the fields, whichever is active.

    Args:
        ctx: FiftyOne's execution context.
        fields: fields that are read; none for all slices of images.
    """
    view, dataset = ctx.view, ctx.dataset
    if view.media_type != "group":
        return view
    kinds = dataset.group_media_types
    images = [name for name, kind in kinds.items() if kind == "image"]
    if not images:
        return view
    filled = [
        name
        for name in images
        if all(dataset.select_group_slices(name).exists(field).limit(1).values("id") for field in fields)
    ]
    return view.select_group_slices(filled or images)
