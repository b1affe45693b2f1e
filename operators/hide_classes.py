"""Operator ``hide_classes``: which classes of a run are shown, one check box a class."""

from __future__ import annotations

from collections.abc import Iterable

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.editing.history import run_names
from fiftyone_plugin.errors import UsageError

from .base import Messages, Outcome, entry
from .forms.edits import EditOperator, chosen_field, rows_of
from .forms.fields import count_of, refuse, show_name
from .params import Params

__all__ = ["HideClasses"]


class HideClasses(EditOperator):
    """Choose the classes that are drawn and listed; the masks stay as they are.

    Hidden classes are not drawn and leave the lists of classes, on the whole dataset. The masks stay as
    they are, so a class can be shown again at any time.
    """

    listed = entry("Hide or show classes of pseudo-masks", "visibility_off")
    title, done = "Hide classes", "Classes hidden"
    seconds_an_image = 0.004  # showing a class again reads the masks

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add a check box for every class."""
        names = run_names(ctx.dataset, field)
        images = {id_: row.images for row in rows_of(ctx, field) for id_ in row.ids}
        chosen = _boxes(params, field)
        for id_, name in names.all.items():
            hidden = id_ in names.hidden
            shown = "hidden" if hidden else f"in {count_of(images.get(id_, 0))}"
            text, label = f"class {id_}, {shown}", f"Hide {show_name(name)}"
            inputs.bool(_box(field, id_), default=hidden, label=label, description=text)
        if names.all and all(chosen.get(id_, id_ in names.hidden) for id_ in names.all):
            refuse(inputs, _box(field, next(iter(names.all))), "at least one class has to stay visible")

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Hide and show, and return what is hidden now."""
        field = chosen_field(ctx, params)
        boxes = _boxes(params, field)
        samples = yield from self.run(ctx, lambda _: _set_hidden(ctx.dataset, field, boxes))
        hidden = ", ".join(map(show_name, run_names(ctx.dataset, field).hidden.values()))
        summary = {"field": field, "hidden": hidden or "none", "images_changed": samples}
        return (yield from self.end_edit(ctx, summary))

    def __call__(
        self, samples: foc.SampleCollection, field: str, hide: Iterable[int] = (), *, show: Iterable[int] = ()
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, [3, 5])``, on the whole dataset.

        Hidden classes stay hidden unless they are to be shown again.
        """
        boxes = {**{_box(field, id_): True for id_ in hide}, **{_box(field, id_): False for id_ in show}}
        return self.call(samples, {"field": field, **boxes})


def _box(field: str, id_: int) -> str:
    """Return the name of a class's check box; it holds the field, whose boxes others must not inherit."""
    return f"{field}__hide__{id_}"


def _boxes(params: Params, field: str) -> dict[int, bool]:
    return {id_: params.flag(name) for id_, name in params.numbered(f"{field}__hide__").items()}


def _set_hidden(dataset: fo.Dataset, field: str, boxes: dict[int, bool]) -> int:
    """Hide and show as the boxes say and return how many images changed."""
    from fiftyone_plugin.dataset.editing import hide_classes, show_classes

    names, samples = run_names(dataset, field), 0
    unknown = sorted(boxes.keys() - names.all.keys())
    if unknown:
        raise UsageError(f"{field!r} has no class {unknown[0]}")
    show = [id_ for id_, hidden in boxes.items() if not hidden and id_ in names.hidden]
    hide = [id_ for id_, hidden in boxes.items() if hidden and id_ not in names.hidden]
    if show:
        samples += show_classes(dataset, field, show).samples
    if hide:
        samples += hide_classes(dataset, field, hide).samples
    return samples
