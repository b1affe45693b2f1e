"""Pieces that the forms of operators share: a choice, and what keeps a form from being submitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fiftyone.operators import types

__all__ = ["block", "choose", "refuse"]


def choose(
    inputs: Any,
    name: str,
    choices: Iterable[str],
    *,
    notes: Mapping[str, str] | None = None,
    **options: Any,
) -> None:
    """Add a drop-down list.

    Args:
        inputs: the form.
        name: of the parameter.
        choices: values, or a mapping from values to what is shown for them.
        notes: value -> what is explained below it.
        options: of the property: ``default``, ``label``, ``description``, ``required``.
    """
    view = types.Dropdown()
    shown = choices if isinstance(choices, Mapping) else {value: value for value in choices}
    for value, label in shown.items():
        note = {} if notes is None else {"description": notes[value]}
        view.add_choice(value, label=label, **note)
    inputs.enum(name, view.values(), view=view, **options)


def refuse(inputs: Any, name: str, message: str) -> None:
    """Mark an input as invalid, with the reason."""
    prop = inputs.properties[name]
    prop.invalid, prop.error_message = True, message


def block(inputs: Any, name: str, message: str) -> None:
    """Keep a form without inputs from being submitted; FiftyOne asks for an invalid one."""
    inputs.str(name, view=types.HiddenView())
    refuse(inputs, name, message)
