"""Pieces that the forms of operators share: choices, text as text, what keeps a form from being submitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import fiftyone as fo
from fiftyone.operators import types

from fiftyone_plugin.common.skipped import Skipped
from fiftyone_plugin.common.text import plain_markdown, shorten
from fiftyone_plugin.dataset.overlays import list_overlays

from ..params import Params

__all__ = [
    "ask_overwrite",
    "block",
    "cannot",
    "choose",
    "choose_noted",
    "count_of",
    "describe_left_out",
    "first_reasons",
    "in_a_line",
    "lay_out",
    "left_out_labels",
    "problem_output",
    "refuse",
    "segmentation_fields",
    "show_name",
    "show_text",
    "there_is",
]

ALERTS = (types.Notice, types.Warning, types.Error)
PLAIN = (types.Button, types.MarkdownView, types.ReadOnlyView)  # the App shows their texts as they are
PARTS = ("label", "description")
IF_ANY = ("left_out", "masks", "unread")
VIEWS = {"picture": types.ImageView, "report": types.MarkdownView}  # how entries of results are shown
LISTED = 5  # of what was left out
REASON = 200  # characters of a reason
NAME_LENGTH = 100  # characters of a name that are shown; it may come from anybody and have any length


# No input is declared as required: the App of FiftyOne 1.22 checks that itself, and its check of earlier
# values may end after that of the last ones. The form then calls missing what it shows, and is stuck.


def choose(
    inputs: types.Object,
    name: str,
    choices: Iterable[str],
    *,
    notes: Mapping[str, str] | None = None,
    **options: object,
) -> None:
    """Add a drop-down list of values, or of what a mapping shows for them; ``notes`` explain them."""
    view = types.Dropdown()
    shown = choices if isinstance(choices, Mapping) else {value: value for value in choices}
    for value, label in shown.items():
        note = {} if notes is None else {"description": notes[value]}
        view.add_choice(value, label=label, **note)
    inputs.enum(name, view.values(), view=view, **options)


def choose_noted(
    inputs: types.Object, params: Params, name: str, notes: Mapping[str, str], default: str, label: str
) -> None:
    """Add a drop-down list of values with their notes, and the note of the chosen one below it."""
    note = notes[params.one_of(name, notes, default)]
    choose(inputs, name, list(notes), notes=notes, default=default, label=label, description=note)


def refuse(inputs: types.Object, name: str, message: str) -> None:
    """Mark an input as invalid, with the reason."""
    prop = inputs.properties[name]
    prop.invalid, prop.error_message = True, message


def block(inputs: types.Object, name: str, message: str) -> None:
    """Keep a form without inputs from being submitted; FiftyOne asks for an invalid one."""
    inputs.str(name, view=types.HiddenView())
    refuse(inputs, name, message)


def cannot(inputs: types.Object, name: str, label: str, description: str | None = None) -> None:
    """Say in place of the input ``name`` why nothing can be done."""
    inputs.view("nothing", types.Error(label=label, description=description))
    block(inputs, name, label)


def ask_overwrite(inputs: types.Object, params: Params, name: str, message: str, description: str) -> None:
    """Offer to replace what the input ``name`` names, and refuse it unless that is wanted."""
    inputs.bool("overwrite", default=False, label="Overwrite", description=description)
    if not params.flag("overwrite"):
        refuse(inputs, name, message)


def lay_out(results: Mapping[str, object], labels: Mapping[str, str], heading: str) -> types.Property:
    """Lay an operator's result out, a line an entry; without any labels, all are shown under their names.

    Entries without a value are left out, and counts of what went wrong where there are none.
    """
    outputs = types.Object()
    for name, label in _told(results, labels).items():
        value = results[name]
        if isinstance(value, int | float):
            (outputs.int if isinstance(value, int) else outputs.float)(name, label=label)
        else:
            outputs.str(name, label=label, view=VIEWS[name]() if name in VIEWS else None)
    return types.Property(outputs, view=types.View(label=heading))


def in_a_line(results: Mapping[str, object], labels: Mapping[str, str]) -> str:
    """Return what :func:`lay_out` shows as a line."""
    parts = (
        f"{label}: {shorten(str(results[name]), REASON)}" for name, label in _told(results, labels).items()
    )
    return "; ".join(parts)


def _told(results: Mapping[str, object], labels: Mapping[str, str]) -> dict[str, str]:
    """Return entry -> label, of those that are shown."""
    named = labels or {name: name.replace("_", " ").capitalize() for name in results}
    return {
        name: label
        for name, label in named.items()
        if results.get(name) not in (None, "") and not (name in IF_ANY and not results[name])
    }


def problem_output(title: str, text: str) -> types.Property:
    """Lay a problem out where the result would be."""
    outputs = types.Object()
    outputs.view("problem", types.Warning(label=title, description=text))
    return show_text(types.Property(outputs, view=types.View(label="Pseudo-masks")))


def there_is(path: str) -> bool:
    """Tell whether a path that anybody may have typed is that of a file or folder."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name too long, a folder that may not be read, ...
        return False


def show_name(name: str) -> str:
    """Return a name that anybody may have given, to be shown within a line."""
    return shorten(name, NAME_LENGTH)


def show_text(prop: types.Property) -> types.Property:
    """Let the App show the labels and descriptions of a form, a result or a panel as the text they are.

    It takes those of inputs and alerts for Markdown, also where they hold names and file names; it shows
    choices, buttons, headings, results and error messages as they are.
    """
    for each in getattr(prop.type, "properties", {}).values():
        if isinstance(each.view, ALERTS):  # made anew: what one was made with wins over what is set later
            each.view = type(each.view)(**{part: _markdown(each.view, part) for part in PARTS})
        elif each.view is not None and not isinstance(each.view, PLAIN):
            for part in PARTS:
                setattr(each.view, part, _markdown(each.view, part))
        show_text(each)
    return prop


def _markdown(view: types.View, part: str) -> str | None:
    text = getattr(view, part, None)
    return plain_markdown(str(text)) if text else text


def describe_left_out(skipped: Sequence[Skipped]) -> dict[str, object]:
    """Return the entries of a result for what was left out: how many, and :func:`first_reasons`."""
    return {"left_out": len(skipped), "left_out_reasons": first_reasons(skipped)}


def first_reasons(skipped: Sequence[Skipped]) -> str:
    """Return in a line what was left out first, and why."""
    more = f"; and {len(skipped) - LISTED} more" if len(skipped) > LISTED else ""
    first = skipped[:LISTED]
    return "; ".join(f"{show_name(str(e.key))}: {shorten(str(e.reason), REASON)}" for e in first) + more


def left_out_labels(what: str) -> dict[str, str]:
    """Return the labels of what :func:`describe_left_out` describes."""
    return {"left_out": f"{what} left out", "left_out_reasons": f"Why {what.lower()} were left out"}


def count_of(images: int) -> str:
    """Return a number of images in words."""
    return f"{images} image{'' if images == 1 else 's'}"


def segmentation_fields(dataset: fo.Dataset) -> list[str]:
    """Return the names of the dataset's segmentation fields, without those that only show masks otherwise."""
    drawn = {each.name for each in list_overlays(dataset)}
    return [name for name in dataset.get_field_schema(embedded_doc_type=fo.Segmentation) if name not in drawn]
