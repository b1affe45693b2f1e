"""The notebooks of the documentation run from top to bottom, and what they show was shown by such a run."""

from __future__ import annotations

from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_and_shows_what_it_did(path, backbone, tmp_path):
    nbformat = pytest.importorskip("nbformat", exc_type=ImportError)
    nbclient = pytest.importorskip("nbclient", exc_type=ImportError)
    pytest.importorskip("ipykernel", exc_type=ImportError)
    kept = nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    again = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(again, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [kinds(cell) for cell in kept.cells] == [kinds(cell) for cell in again.cells]
    assert any(kinds(cell) for cell in kept.cells)


def kinds(cell):
    """Kinds of what a cell has put out, but for warnings and progress."""
    return [out.output_type for out in cell.get("outputs", []) if out.get("name") != "stderr"]
