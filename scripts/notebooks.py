"""Run the documentation's notebooks from top to bottom and keep what they show.

python scripts/notebooks.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"


def renew(path: Path) -> None:
    """Run a notebook in an empty folder and write it back, without warnings, progress and times."""
    book = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=300, resources={"metadata": {"path": folder}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    nbformat.write(book, path)


if __name__ == "__main__":
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        renew(notebook)
