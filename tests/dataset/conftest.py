"""A dataset whose field a run has filled, without a backbone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from fiftyone_plugin import label_dataset
from fiftyone_plugin.dataset.claiming import claim

_spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).parents[1] / "soak" / "tiny_run.py")
tiny_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_run)


@pytest.fixture
def tiny(fo, tmp_path, write):
    """A dataset of four tiny images whose field ``m`` a run has filled; its clones are deleted too."""
    tiny_run.make_images(tmp_path / "images")
    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(p)) for p in sorted((tmp_path / "images").iterdir())])
    write(dataset, tmp_path / "run")
    known = set(fo.list_datasets())
    yield dataset
    for name in {dataset.name, *(set(fo.list_datasets()) - known)}:
        if fo.dataset_exists(name):
            fo.delete_dataset(name)


@pytest.fixture
def write():
    """``write(dataset, out)`` fills a field with a run that is made up in ``out``."""

    def write(dataset, out, classes=3, *, field="m", overwrite=False):
        claim(dataset, field, out, overwrite=overwrite, restart=False)
        tiny_run.make_run(out, Path(dataset.first().filepath).parent, classes)
        return label_dataset(dataset, field, overwrite=overwrite)

    return write


@pytest.fixture
def files():
    """``files(folder)``: what lies below it."""

    def files(folder):
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    return files


@pytest.fixture
def runs():
    """The module that makes up runs of tiny images."""
    return tiny_run
