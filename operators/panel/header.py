"""The head of the panel "Pseudo-masks": the run, its next steps, and everything else behind *More*."""

from __future__ import annotations

from datetime import timezone

import fiftyone as fo
from fiftyone.operators import ExecutionContext, types

from fiftyone_plugin.common.text import plain_markdown, shorten
from fiftyone_plugin.dataset import colours
from fiftyone_plugin.dataset.accepting import is_tagged
from fiftyone_plugin.dataset.cluster_names import is_named
from fiftyone_plugin.dataset.overlays import list_overlays, remove_overlay
from fiftyone_plugin.dataset.record import RunRecord
from fiftyone_plugin.dataset.summary import free_field
from fiftyone_plugin.dataset.views import list_views
from fiftyone_plugin.images.palette import COLOUR_BLIND, USUAL

from ..forms.fields import count_of, show_name
from ..running import read_again, show_colours
from ..undo_edit import UndoEdit, describe_edit, in_force
from . import parts
from .guard import list_of, text_of
from .naming import NamingSection

__all__ = ["FORMS", "HeaderSection"]

VIDEOS = (
    "Frames of videos can be labelled: sample them to a dataset of their own. The videos stay as they are."
)
NO_RUN = "No pseudo-masks yet. One click labels these images; nothing that is there is changed."
FORMS = {
    "Classes": {
        "rename_classes": "Rename or merge classes",
        "hide_classes": "Hide classes",
        "split_class": "Split a class",
        "suggest_names": "Suggest names",
        "save_ontology": "Save as ontology",
    },
    "Correct by hand": {
        "masks_to_detections": "Edit as detections",
        "detections_to_masks": "Put detections back",
        "propagate_corrections": "Propagate corrections",
        "undo_edit": "Take back an edit",
    },
    "Learn from labels": {"suggest_images": "What to label next", "label_taught": "Teach with labels"},
    "Masks": {
        "evaluate_masks": "Evaluate",
        "compare_runs": "Compare two runs",
        "add_overlay": "Outlines, doubt, differences",
        "export_masks": "Export masks",
        "import_masks": "Import masks",
        "preview_masks": "Preview",
        "label_dataset": "Label again",
    },
    "Runs": {"save_views": "Renew saved views", "resume_run": "Go on", "stop_run": "Stop"},
}
PALETTES = {COLOUR_BLIND: "Colours for colour-blind eyes", USUAL: "Usual colours"}
NO_FIELD = ("import_masks", "preview_masks")  # operators that are about no run
UNFINISHED = ("resume_run", "stop_run")  # those of runs that are not complete
FIELD = {"evaluate_masks": "pred_field", "compare_runs": "a"}  # what the form calls the masks, if not "field"
WHOLE = ("evaluate_masks", "export_masks")  # not the images that a click on a class has left

SHOWN = 48  # characters of what is taken back
AT_ONCE_S = 4.0  # what takes longer is done by the form, which shows how far it is
REASON = 300  # characters of what is told of files that stay


class HeaderSection(NamingSection):
    """What can be done with a run; a part of the panel, whose state and hooks it shares."""

    def choose_run(self, ctx: ExecutionContext) -> None:
        """Show another run."""
        ctx.panel.state.run = text_of(ctx.params.get("value"))
        ctx.panel.state.stamp = None  # even where a run has begun since
        self.refresh(ctx)

    def show_saved(self, ctx: ExecutionContext) -> None:
        """Open a saved view of the run."""
        run, name = parts.chosen(ctx), ctx.params.get("name")
        if run and isinstance(name, str) and ctx.dataset.has_saved_view(name):
            parts.show(ctx, run, name)
        else:
            ctx.ops.notify("This view is gone: renew the saved views", variant="warning")

    def ask_delete(self, ctx: ExecutionContext) -> None:
        """Ask before a run is deleted."""
        run = parts.chosen(ctx)
        ctx.panel.state.confirm = run.key if run else None

    def keep(self, ctx: ExecutionContext) -> None:
        """Delete nothing."""
        ctx.panel.state.confirm = None

    def delete(self, ctx: ExecutionContext) -> None:
        """Delete the run that was asked about: its fields, files, views and record."""
        from fiftyone_plugin.dataset.labelling import undo

        key = ctx.panel.state.confirm
        ctx.panel.state.confirm = None
        if not isinstance(key, str) or not ctx.dataset.has_run(key):
            ctx.ops.notify("This run is gone already", variant="warning")
        else:
            kept = undo(ctx.dataset, key).kept
            ctx.panel.state.run = None
            left = f", but {shorten('; '.join(kept), REASON)}" if kept else ", with its fields and files"
            ctx.ops.notify(f"Run {key!r} is deleted{left}", variant="warning" if kept else "success")
            read_again(ctx)
        self.refresh(ctx)

    def take_back(self, ctx: ExecutionContext) -> None:
        """Take back the edit that the button named; where another one came after it, nothing."""
        from fiftyone_plugin.dataset.editing import undo_edit

        run = parts.chosen(ctx)
        edits = in_force(ctx.dataset, run.field) if run else []
        if run is None or not edits or edits[-1].number != ctx.params.get("number"):
            ctx.ops.notify("There was another change since: look at what Undo says now", variant="warning")
        elif UndoEdit.seconds_an_image * run.counts.get("labelled", 0) > AT_ONCE_S:
            self._prompt(ctx, "undo_edit", {"field": run.field}, self.refresh)
            return
        else:
            text = f"Taken back: {describe_edit(undo_edit(ctx.dataset, run.field))}"
            ctx.dataset.reload()
            read_again(ctx)
            show_colours(ctx)
            ctx.ops.notify(text, variant="success")
        self.refresh(ctx)

    def open_form(self, ctx: ExecutionContext) -> None:
        """Open the form of an operator, with the field of the chosen run."""
        name, runs = ctx.params.get("operator"), parts.runs_of(ctx)
        if not isinstance(name, str) or name not in {each for group in FORMS.values() for each in group}:
            if name == "sample_frames":  # about no run
                self._prompt(ctx, name, {}, self.refresh)
            return
        run = parts.chosen(ctx, runs)
        if name == "label_taught" or (name == "label_dataset" and run):
            self._label_again(ctx, runs, run, taught=name == "label_taught")
            return
        waits = run is not None and not run.is_complete
        params = {}
        if run is not None and name not in NO_FIELD and (name in UNFINISHED) == waits:
            params[FIELD.get(name, "field")] = run.field
        if name in WHOLE:
            params["view_target"] = "DATASET"
        self._prompt(ctx, name, params, self.refresh)

    def _label_again(
        self, ctx: ExecutionContext, runs: list[RunRecord], run: RunRecord | None, *, taught: bool
    ) -> None:
        """Open the form that labels anew; taught: from labels of a person and what the chosen run knows."""
        if run is None:
            return
        taken = [*ctx.dataset.get_field_schema(), *(name for each in runs for name in each.fields)]
        # the view may be that of a class, or of suggestions, which have no labels yet
        params = {"field": free_field(taken, run.field), "view_target": "DATASET"}
        if taught:
            params |= {"field": free_field(taken, f"{run.field}_taught"), "start": run.field}
        self._prompt(ctx, "label_dataset", params, self.show_newest)

    def show_newest(self, ctx: ExecutionContext) -> None:
        """Show the newest run, and offer to compare it with the one that was shown before."""
        ctx.panel.state.other = ctx.panel.state.run
        ctx.panel.state.run = None
        self.refresh(ctx)

    def label_now(self, ctx: ExecutionContext) -> None:
        """Label in one click, as the bolt above the grid does."""
        ctx.trigger(f"{self.plugin_name}/quick_label")

    def toggle(self, ctx: ExecutionContext) -> None:
        """Open or close a part that is not always shown; asked twice for the same, nothing changes."""
        part = ctx.params.get("part")
        if part in ("more", "details"):
            ctx.panel.state.set(part, ctx.params.get("open") is True)

    def choose_palette(self, ctx: ExecutionContext) -> None:
        """Colour the classes of all runs by another palette."""
        palette = ctx.params.get("palette")
        if palette in PALETTES:
            colours.use_palette(ctx.dataset, palette)
            show_colours(ctx)
            self.refresh(ctx)

    def take_overlay_away(self, ctx: ExecutionContext) -> None:
        """Delete a field that shows masks in another way."""
        name = ctx.params.get("overlay")
        if name in {each.name for each in list_overlays(ctx.dataset)}:
            remove_overlay(ctx.dataset, name)
            read_again(ctx)
        self.refresh(ctx)

    # ------------------------------------------------------------------ layout

    def render_no_run(self, ctx: ExecutionContext, panel: types.Object) -> None:
        """Offer what can be done with images without masks, or with videos."""
        videos = ctx.dataset is not None and ctx.dataset.media_type == "video"
        panel.md(VIDEOS if videos else NO_RUN, name="none")
        row = parts.flow(panel, "begin")
        if videos:
            self._form(row, "sample_frames", "Sample frames", first=True)
            return
        parts.button(row, "label_now", "Label in one click", self.label_now, first=True)
        self._form(row, "label_dataset", "Choose the settings")
        self._form(row, "preview_masks", "Preview on a few images")
        self._form(row, "import_masks", "Import masks")

    def render_head(
        self, ctx: ExecutionContext, panel: types.Object, runs: list[RunRecord], run: RunRecord
    ) -> None:
        """Say which run it is, and offer the next steps."""
        if len(runs) > 1:
            parts.choose_run(panel, "run", runs, run, self.choose_run, types.DropdownView(compact=True))
        panel.md(describe(ctx.dataset, run, len(list_of(ctx.panel.state.classes))), name="about")
        if ctx.panel.state.confirm == run.key:
            self._ask(panel, run)
            return
        row = parts.flow(panel, "steps")
        if run.is_complete:
            named = is_named(ctx.dataset, run.field)
            reviewed = is_tagged(ctx.dataset)
            parts.button(row, "name", "Name classes", self.start_naming, first=not named)
            own = {each.purpose: each.name for each in list_views(ctx.dataset, run.key)}
            review = {"name": own.get("review first", "")}
            parts.button(row, "review", "Review first", self.show_saved, review, first=named and not reviewed)
            self._form(row, "evaluate_masks", "Compare with truth")
            self._form(row, "export_masks", "Export", first=named and reviewed)
            self._undo(ctx, row, runs, run)
        more = ctx.panel.state.more is True
        label = "More \u25b4" if more else "More \u25be"
        parts.button(row, "more", label, self.toggle, {"part": "more", "open": not more})
        if more:
            self._more(ctx, panel, run)

    def _undo(self, ctx: ExecutionContext, row: types.Object, runs: list[RunRecord], run: RunRecord) -> None:
        """Offer to take back the last edit, or the newest run as long as nothing was done with it."""
        edits = in_force(ctx.dataset, run.field)
        if edits:
            label = f"Undo: {shorten(describe_edit(edits[-1]), SHOWN)}"
            parts.button(row, "undo", label, self.take_back, {"number": edits[-1].number})
        elif run.key == runs[0].key and not is_tagged(ctx.dataset):
            parts.button(row, "undo_run", "Undo this run", self.ask_delete)

    def _more(self, ctx: ExecutionContext, panel: types.Object, run: RunRecord) -> None:
        """Add a button for everything else, in groups."""
        for number, (group, forms) in enumerate(FORMS.items()):
            row = parts.flow(panel, f"more_{number}")
            row.md(f"*{group}*", name="group", **parts.ITEM)
            if run.is_complete or group == "Runs":
                for name, label in forms.items():
                    self._form(row, name, label)
        for each in list_views(ctx.dataset, run.key):
            if run.is_complete and each.purpose != "review first":
                name = each.purpose.replace(" ", "_")
                label = f"Show: {show_name(each.purpose)}"
                parts.button(row, f"view_{name}", label, self.show_saved, {"name": each.name})
        details = {"part": "details", "open": ctx.panel.state.details is not True}
        parts.button(row, "details", "Settings and timings", self.toggle, details)
        for number, overlay in enumerate(list_overlays(ctx.dataset, run.field)):
            label, params = f"Take away {show_name(overlay.name)}", {"overlay": overlay.name}
            parts.button(row, f"overlay_{number}", label, self.take_overlay_away, params)
        other = next(name for name in PALETTES if name != colours.palette_of(ctx.dataset))
        parts.button(row, "palette", PALETTES[other], self.choose_palette, {"palette": other})
        parts.button(row, "refresh", "Refresh", self.refresh)
        parts.button(row, "ask_delete", "Delete this run", self.ask_delete, color="error")

    def _form(self, row: types.Object, name: str, label: str, *, first: bool = False) -> None:
        parts.button(row, f"open_{name}", label, self.open_form, {"operator": name}, first=first)

    def _ask(self, panel: types.Object, run: RunRecord) -> None:
        warning = (
            f"Delete run {run.key!r}: its fields and mask files go, with its saved views and "
            "comparisons. Files that other fields or datasets show stay."
        )
        if not run.is_complete:
            warning += " It is not complete: make sure that it is not still at work."
        panel.view("sure", types.Warning(label="Delete this run?", description=warning))
        row = parts.flow(panel, "asked")
        parts.button(row, "keep", "Keep it", self.keep)
        parts.button(row, "delete", "Delete it", self.delete, first=True, color="error")


def describe(dataset: fo.Dataset, run: RunRecord, classes: int) -> str:
    """Return a line about a run, as Markdown: field, method, classes, images, date on this machine, state."""
    date = dataset.get_run_info(run.key).timestamp.replace(tzinfo=timezone.utc).astimezone()
    known = [str(run.settings["method"])] if run.settings.get("method") else []
    known += [f"{classes} classes"] if classes else []
    known += [count_of(run.counts["labelled"])] if run.counts.get("labelled") else []
    known += [f"{run.counts['skipped']} left out"] if run.counts.get("skipped") else []
    known += [f"{date.day} {date:%B %Y, %H:%M}", "done" if run.is_complete else "not complete"]
    return " \u00b7 ".join([f"**{run.field}**", *map(plain_markdown, known)])
