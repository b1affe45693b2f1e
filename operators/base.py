"""What all operators share: how they are listed, what they read, and how they end in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from functools import wraps
from typing import ClassVar, Concatenate, ParamSpec, TypeVar

import fiftyone.core.collections as foc
import fiftyone.operators as foo
from fiftyone.operators import ExecutionContext, types
from fiftyone.operators.executor import ExecutionResult
from fiftyone.operators.operator import RiskLevel
from pymongo.errors import PyMongoError

from fiftyone_plugin.common.progress import Progress
from fiftyone_plugin.errors import PseudoMaskError, UsageError

from .database import first_line, in_words
from .forms.fields import block, in_a_line, lay_out, problem_output, refuse, show_text
from .params import Params
from .running import DELEGATE_ABOVE_S, end_work, in_app, note_work, run_with_progress, stream_or_run

__all__ = [
    "Messages",
    "Outcome",
    "PseudoMaskOperator",
    "Result",
    "entry",
    "images_of",
    "once",
    "open_dataset",
    "say_images",
    "target_view",
]

P = ParamSpec("P")
T = TypeVar("T")
Result = dict[str, object]  # JSON-serialisable; FiftyOne stores it with a delegated operation
Messages = Generator[object, None, Result]
Outcome = ExecutionResult  # of a call from Python

APART = "apart"  # the value that says that the form has closed
PROBLEM = "problem"  # the entry of a result that holds what went wrong, where nothing can be raised
DEFAULTS = {
    "dynamic": True,
    "execute_as_generator": True,
    "allow_immediate_execution": True,
    "allow_delegated_execution": True,
    "risk_level": RiskLevel.LOW,
}


def entry(label: str, icon: str, **options: object) -> dict[str, object]:
    """Return how an operator is listed and run: arguments of ``foo.OperatorConfig``."""
    return DEFAULTS | {"label": label, "icon": icon, **options}


class PseudoMaskOperator(foo.Operator):
    """An operator whose form, work and result cannot end in a traceback for what a person gave.

    A subclass is listed under its own name, with the first line of its docstring as description. It adds
    inputs to a form (:meth:`form`), works (:meth:`steps`, or :meth:`result` where nothing is streamed) and
    says how its result is shown. The methods read the form's values through :class:`~.params.Params`, find a
    dataset opened, and may raise :class:`~fiftyone_plugin.errors.PseudoMaskError`.

    Attributes:
        listed: how it is listed and run, see :func:`entry`.
        title: heading of the form; ``None`` for an operator without one.
        submit: label of the button that submits the form; ``None`` for the App's own.
        button: label of a button above the sample grid; ``None`` for an operator without one.
        done: heading of the result.
        shown: entry of the result -> its label; see :func:`~.forms.fields.lay_out`.
        seconds_an_image: what work that grows with the view takes, on two cores.
        apart: the work shows in the panel, and the window of the form closes before it begins: one that
            stays while the App is drawn anew comes back after it was closed.
    """

    listed: ClassVar[dict[str, object]]
    title: ClassVar[str | None] = None
    submit: ClassVar[str | None] = None
    button: ClassVar[str | None] = None
    done: ClassVar[str] = "Pseudo-masks"
    shown: ClassVar[dict[str, str]] = {}
    seconds_an_image: ClassVar[float] = 0.0
    apart: ClassVar[bool] = False

    # ------------------------------------------------------------------ what a subclass fills in

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add the inputs of the form."""

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Return about how long the work takes; long work is scheduled by default."""
        return self.seconds_an_image and self.seconds_an_image * len(target_view(ctx))

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Work, yielding messages for the App, and return the result."""
        raise NotImplementedError

    def result(self, ctx: ExecutionContext, params: Params) -> Result:
        """Work and return the result, where ``listed`` has ``execute_as_generator=False``."""
        raise NotImplementedError

    # ------------------------------------------------------------------ what a subclass uses

    def run(
        self, ctx: ExecutionContext, work: Callable[[Progress], T], field: str = ""
    ) -> Generator[object, None, T]:
        """Work with progress, see :func:`~.running.run_with_progress`."""
        return run_with_progress(ctx, work, field=field, apart=self.apart)

    def tell(self, ctx: ExecutionContext, summary: Result) -> object:
        """Return the message that shows a result in the App: a toast where the form has closed."""
        if not (self.apart and in_app(ctx)):
            return ctx.ops.show_output(lay_out(summary, self.shown, self.done).to_json(), summary)
        return ctx.ops.notify(f"{self.done}. {in_a_line(summary, self.shown)}", variant="success")

    def end(self, ctx: ExecutionContext, summary: Result, before: Iterable[object] = ()) -> Messages:
        """Return a result, which is told after other messages unless the operation is delegated."""
        if not ctx.delegated:
            yield from before
            yield self.tell(ctx, summary)
        return summary

    def call(
        self, samples: foc.SampleCollection, params: Mapping[str, object], *, delegate: bool = False
    ) -> Outcome:
        """Execute on a dataset or view with the values of a form, and return FiftyOne's execution result."""
        context = {"view": samples.view()}
        return foo.execute_operator(self.uri, context, params=params, request_delegation=delegate)

    # ------------------------------------------------------------------ what FiftyOne calls

    @property
    def config(self) -> foo.OperatorConfig:
        """How the App shows and runs the operator."""
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        return foo.OperatorConfig(name=name, description=self.text[0], **self.listed)

    @property
    def text(self) -> tuple[str, str]:
        """The first line of the docstring, without its full stop, and the lines below it as one."""
        first, _, rest = (type(self).__doc__ or "").partition("\n")
        return first.rstrip("."), " ".join(rest.split())

    def resolve_placement(self, ctx: ExecutionContext) -> types.Placement | None:
        """Put a button above the sample grid, if there is one."""
        if self.button is None:
            return None
        button = types.Button(label=self.button, prompt=bool(self.title), icon=self.listed["icon"])
        return types.Placement(types.Places.SAMPLES_GRID_SECONDARY_ACTIONS, button)

    def resolve_execution_options(self, ctx: ExecutionContext) -> foo.ExecutionOptions:
        """Offer delegation first where the work would take long."""
        config = self.config
        if not (config.allow_immediate_execution and config.allow_delegated_execution):
            return super().resolve_execution_options(ctx)
        seconds = 0.0
        with suppress(PseudoMaskError), in_words():  # the form says what is wrong
            open_dataset(ctx)
            seconds = self.seconds(ctx, Params(ctx.params, lenient=True))
        return foo.ExecutionOptions(
            allow_immediate_execution=True,
            allow_delegated_execution=True,
            default_choice_to_delegated=seconds > DELEGATE_ABOVE_S,
        )

    def resolve_input(self, ctx: ExecutionContext) -> types.Property | None:
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

    def execute(self, ctx: ExecutionContext) -> object:
        """Work: a stream of messages for the App, or the result of a delegated operation or a call."""
        if self.apart and in_app(ctx) and ctx.params.get(APART) is not True:
            # the App executes this once more: its window of a form stays until an execution has ended
            note_work(ctx.dataset_name)
            target = {"view_target": ctx.request_params.get("view_target")}
            begun = ctx.trigger(self.uri, {**ctx.params, **target, APART: True})
            return (each for each in [begun]) if self.config.execute_as_generator else {}
        if self.config.execute_as_generator:
            return stream_or_run(ctx, self._begin(ctx))
        try:
            with in_words():
                open_dataset(ctx)
                summary = self.result(ctx, Params(ctx.params))
                if self.apart and in_app(ctx):
                    self.tell(ctx, summary)
                return summary
        except PseudoMaskError as error:
            if not in_app(ctx):
                raise
            ctx.ops.notify(str(error), variant="error")
            return {PROBLEM: str(error)}
        finally:
            end_work(ctx.dataset_name)

    def _begin(self, ctx: ExecutionContext) -> Messages:
        with in_words():
            open_dataset(ctx)
            return (yield from self.steps(ctx, Params(ctx.params)))

    def resolve_output(self, ctx: ExecutionContext) -> types.Property | None:
        """Show the result, or what went wrong."""
        results = ctx.results if isinstance(ctx.results, dict) else {}
        if self.apart and not results:
            return None  # the work has only begun; a window would stay
        if PROBLEM not in results:
            return show_text(lay_out(results, self.shown, self.done))
        return problem_output("This cannot be done", str(results[PROBLEM]))


# ---------------------------------------------------------------------- what a request is about


def once(
    find: Callable[Concatenate[ExecutionContext, P], T],
) -> Callable[Concatenate[ExecutionContext, P], T]:
    """Have ``find`` look once a request: a form asks for the same many times."""

    @wraps(find)
    def found(ctx: ExecutionContext, /, *args: P.args, **kwargs: P.kwargs) -> T:
        kept: dict[object, T] = ctx.__dict__.setdefault("_pseudomask_found", {})
        asked = (find, args, tuple(kwargs.items()))
        if asked not in kept:
            kept[asked] = find(ctx, *args, **kwargs)
        return kept[asked]

    return found


def open_dataset(ctx: ExecutionContext) -> None:
    """Open the dataset and the view of a request, which FiftyOne then keeps with it.

    Raises:
        UsageError: there is none, or none any more.
    """
    try:
        dataset, _ = ctx.dataset, ctx.view
    except PyMongoError:
        raise
    except Exception as error:
        text = f"the dataset or its view cannot be opened ({first_line(error)}): open one that is there"
        raise UsageError(text) from None
    if dataset is None:
        raise UsageError("open a dataset first")


def target_view(ctx: ExecutionContext, *, require_flat: bool = False) -> foc.SampleCollection:
    """Return the samples that the form is about: the view, the dataset or what is selected.

    Of a grouped dataset, ``require_flat`` takes the active slice.

    Raises:
        UsageError: it cannot be told which these are.
    """
    try:
        flat = require_flat and not ctx.view._is_dynamic_groups  # those have no slices; the listing says so
        return ctx.target_view(require_flat=flat)
    except PyMongoError:
        raise
    except Exception as error:
        text = f"the samples cannot be told from the selection ({first_line(error)}): select anew"
        raise UsageError(text) from None


def say_images(ctx: ExecutionContext, inputs: types.Object, verb: str) -> None:
    """Say in a form how many images the work takes; the App adds the choice: dataset, view or selection."""
    taken, total = len(target_view(ctx)), len(ctx.dataset)
    text = f"all {total:,} images" if taken == total else f"{taken:,} of {total:,} images"
    kind = types.Notice if taken else types.Warning
    inputs.view("taken", kind(label=f"{verb} {text if total != 1 else 'one image'}"))


def images_of(ctx: ExecutionContext, *fields: str) -> foc.SampleCollection:
    """Return the samples that the form is about; of groups, the slices of images that hold the fields.

    Slices count whether they are active or not.
    """
    view, dataset = target_view(ctx), ctx.dataset
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
