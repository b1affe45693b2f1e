"""Operator ``save_ontology``: the classes of a run as FiftyOne's ontology, for annotation."""

from __future__ import annotations

from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from .base import Messages, Outcome, entry
from .forms.edits import EditOperator, chosen_field, finished, rows_of
from .forms.fields import choose, show_name
from .params import Params

__all__ = ["SaveOntology"]

NONE = "(none)"


class SaveOntology(EditOperator):
    """Save the classes of a run as an ontology, which annotation in the App offers.

    A list of the names, in groups where another run has fewer classes. It belongs to no dataset and stays
    when the run is deleted; saved again, it gets another version.
    """

    listed = entry("Save the classes of pseudo-masks as an ontology", "account_tree")
    title, done = "Save as ontology", "Ontology saved"
    submit = "Save"
    shown: ClassVar[dict[str, str]] = {"ontology": "Name", "classes": "Classes", "version": "Version"}

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Grows with the masks that groups are counted in."""
        return 0.01 * len(ctx.dataset) if _coarse(ctx, params) else 0.0

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add the name, and the run of the groups."""
        text = "Letters, digits, spaces and -_; empty: dataset and masks"
        inputs.str("name", label="Name", description=text)
        params.text("name")
        others = [each for each in finished(ctx) if each != field]
        if others:
            text = "A run with fewer classes: its classes become groups"
            choose(inputs, "coarse", [NONE, *others], default=NONE, label="Groups", description=text)
            _coarse(ctx, params)

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Save, and return what was saved."""
        from fiftyone_plugin.dataset.ontology import save_ontology

        field, name, coarse = chosen_field(ctx, params), params.text("name") or None, _coarse(ctx, params)
        saved = yield from self.run(
            ctx, lambda _: save_ontology(ctx.dataset, field, coarse=coarse, name=name)
        )
        summary = {
            "ontology": show_name(saved.name.removesuffix("-classes")),
            "classes": len({row.name for row in rows_of(ctx, field)}),
            "version": saved.version,
        }
        return (yield from self.end(ctx, summary))

    def __call__(
        self, samples: foc.SampleCollection, field: str, name: str = "", coarse: str = NONE
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field)``.

        Named after dataset and field if not given; the classes of the run ``coarse`` become groups.
        """
        return self.call(samples, {"field": field, "name": name, "coarse": coarse})


def _coarse(ctx: ExecutionContext, params: Params) -> str | None:
    """Return the mask field of the run whose classes become groups."""
    chosen = params.one_of("coarse", [NONE, *finished(ctx)], NONE)
    return None if chosen == NONE else chosen
