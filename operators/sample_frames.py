"""Operator ``sample_frames``: a dataset of images from videos, to label them."""

from __future__ import annotations

from typing import ClassVar

import fiftyone as fo
import fiftyone.core.collections as foc
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.dataset.frames import HIGHEST_RATE, free_name
from fiftyone_plugin.errors import UsageError

from .base import Messages, Outcome, PseudoMaskOperator, entry, target_view
from .forms.fields import describe_left_out, left_out_labels, show_name
from .params import Params

__all__ = ["SampleFrames"]


class SampleFrames(PseudoMaskOperator):
    """Sample frames of videos to a new dataset of images, and open it.

    The videos and their dataset are not changed. The frames go to FiftyOne's folder of datasets.
    """

    listed = entry("Sample frames of videos, to label them", "video_library")
    title, submit, done = "Sample frames", "Sample", "Frames sampled"
    shown: ClassVar[dict[str, str]] = {
        "dataset": "Dataset",
        "frames": "Frames",
        "folder": "Folder",
        **left_out_labels("Videos"),
    }
    seconds_an_image = 2.0
    apart = True

    def form(self, ctx: ExecutionContext, inputs: types.Object, params: Params) -> None:
        """Add the rate, and the name of the new dataset."""
        if target_view(ctx).media_type != "video":
            raise UsageError("these samples are no videos: they can be labelled as they are")
        text = f"{len(target_view(ctx)):,} videos; they are not changed"
        inputs.float("rate", default=1.0, label="Frames a second", description=text)
        params.number("rate", 1.0, 1e-3, HIGHEST_RATE)
        name = free_name(f"{ctx.dataset.name}-frames")
        inputs.str("name", default=name, label="New dataset")
        if fo.dataset_exists(params.text("name") or name):
            params.problems["name"] = "There is a dataset of this name: choose another one"

    def steps(self, ctx: ExecutionContext, params: Params) -> Messages:
        """Sample, open the new dataset, and return what was made."""
        from fiftyone_plugin.dataset.frames import sample_frames

        rate, name = params.number("rate", 1.0, 1e-3, HIGHEST_RATE), params.text("name") or None
        view = target_view(ctx)
        made = yield from self.run(ctx, lambda progress: sample_frames(view, rate, name, progress))
        summary = {
            "dataset": show_name(made.dataset.name),
            "frames": len(made.dataset),
            "folder": str(made.folder),
            **describe_left_out(made.left_out),
        }
        if not ctx.delegated:
            yield self.tell(ctx, summary)
            yield ctx.ops.open_dataset(made.dataset.name)
        return summary

    def __call__(self, samples: foc.SampleCollection, rate: float = 1.0, name: str = "") -> Outcome:
        """Run from Python: ``foo.get_operator(uri)(dataset)`` of videos, into ``<dataset>-frames``."""
        return self.call(samples, {"rate": rate, "name": name})
