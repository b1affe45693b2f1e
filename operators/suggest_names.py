"""Operator ``suggest_names``: names that an image-text model suggests, on the cards of the panel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar

import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.errors import UsageError

from .base import Messages, Outcome, entry
from .forms.edits import EditOperator, chosen_field, finished
from .forms.fields import refuse, there_is
from .params import Params

__all__ = ["SuggestNames"]

MISSING = (
    "open_clip is not installed where the App runs: pip install 'fiftyone-pseudomask[names]' there, and "
    "start the App again"
)
FORMS = "ARCHITECTURE=FILE for weights of yours, or ARCHITECTURE:TAG for those that open_clip can download"


class SuggestNames(EditOperator):
    """Hold the crops of every class against words, by an image-text model that you have.

    The best words come as buttons on the cards of 'Name classes', each with its score; none is taken unasked.
    The weights are yours, and have a licence of their own.
    """

    listed = entry("Suggest names for classes of pseudo-masks", "lightbulb")
    title, done = "Suggest names", "Names suggested"
    submit = "Suggest"
    apart = False  # nothing is drawn anew, and the cards wait for the end
    shown: ClassVar[dict[str, str]] = {"classes": "Classes with suggestions"}

    def seconds(self, ctx: ExecutionContext, params: Params) -> float:
        """Takes some seconds, whatever the number of images: a few crops a class are looked at."""
        return 0.0

    def add_inputs(self, ctx: ExecutionContext, inputs: types.Object, params: Params, field: str) -> None:
        """Add the words and the model; without open_clip, say what is missing."""
        if importlib.util.find_spec("open_clip") is None:
            inputs.view("missing", types.Error(label="This is not available yet", description=MISSING))
            refuse(inputs, "field", MISSING)
            return
        text = "Separated by commas, or the path of a file with one a line: what the classes may be called"
        inputs.str("words", label="Words", description=text)
        inputs.str("model", label="Text model", description=FORMS)
        if params.text("words"):
            try:
                _words(params)
            except UsageError as error:
                refuse(inputs, "words", str(error))

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Compare, and keep the suggestions for the cards."""
        from fiftyone_plugin.dataset.name_drafts import keep_ideas
        from fiftyone_plugin.runs.name_ideas import suggest_names

        field, words, model = chosen_field(ctx, params), _words(params), params.text("model")
        if not model:
            raise UsageError(f"name the text model: {FORMS}")
        run = finished(ctx)[field]
        ideas = yield from self.run(ctx, lambda _: suggest_names(Path(run.out), words, model))
        keep_ideas(ctx.dataset, run, ideas)
        return (yield from self.end(ctx, {"field": field, "classes": len(ideas)}))

    def __call__(
        self, samples: foc.SampleCollection, field: str, words: list[str] | str, model: str
    ) -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset, field, ["sky", "wall"], "ViT-B-32=FILE")``.

        The words may be the path of a file with one a line; ``ARCHITECTURE:TAG`` is a model of open_clip's.
        """
        text = words if isinstance(words, str) else ", ".join(words)
        return self.call(samples, {"field": field, "words": text, "model": model})


def _words(params: Params) -> list[str]:
    """Return the words that the form has, or those of the file that it names."""
    from fiftyone_plugin.runs.name_ideas import read_vocabulary

    text = params.text("words")
    if there_is(text):
        return read_vocabulary(Path(text))
    words = list(dict.fromkeys(" ".join(part.split()) for part in text.replace("\n", ",").split(",")))
    words = [word for word in words if word]
    if len(words) < 2:
        raise UsageError("give two words or more, separated by commas, or the path of a file on the server")
    return words
