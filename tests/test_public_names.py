"""The public names: light to import, listed with their signatures, and one word a thing in the docs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fiftyone_plugin as fop
from fiftyone_plugin.cli.shared import EXIT_CODES

DOCS = Path(__file__).parents[1] / "docs"


def test_importing_the_package_is_light():
    heavy = ("torch", "fiftyone", "sklearn", "scipy", "pandas", "PIL", "numpy")
    code = f"import sys, fiftyone_plugin; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_labelling_is_set_up_without_fiftyone_and_training_libraries():
    code = (
        "import sys, fiftyone_plugin as fop; fop.LabelConfig(size=98); "
        "print([name for name in ('torch', 'fiftyone', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", fop.__all__)
def test_every_public_name_exists_and_is_in_the_reference(name):
    value = getattr(fop, name)
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert (f"\n::: fiftyone_plugin.{name}\n" if callable(value) else f"`{name}`") in text
    assert inspect.getdoc(value)


def test_the_reference_lists_nothing_else():
    listed = re.findall(
        r"^::: fiftyone_plugin\.(.+)", (DOCS / "api.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(listed) <= set(fop.__all__)


def test_the_docs_list_the_exit_codes():
    rows = re.findall(r"^\| (\d+) \|", (DOCS / "words.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(row) for row in rows] == [int(code) for code in EXIT_CODES]


def test_errors_are_at_the_top():
    assert issubclass(fop.UsageError, (fop.PseudoMaskError, ValueError))
    assert issubclass(fop.MissingDependencyError, fop.PseudoMaskError)
    assert issubclass(fop.ImageReadError, fop.PseudoMaskError)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'labell'"):
        fop.labell  # noqa: B018
