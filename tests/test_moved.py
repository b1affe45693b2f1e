"""Names that documentation has told people to import go on working where they were, with a warning."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import fiftyone_plugin
from fiftyone_plugin._moved import MOVED

DOCUMENTED = {
    "class_names": ("rename_classes", "restore_names"),
    "dataset_comparison": ("compare_runs",),
    "datasets": ("label_dataset", "undo"),
    "editing": ("hide_classes", "merge_classes", "split_class", "propagate_corrections", "undo_edit"),
    "export.importing": ("read_masks",),
    "native": ("native_labels",),
    "backbones.weights": ("load_model",),
    "export": ("VocExporter", "export", "import_masks", "read_masks"),
    "pipeline": ("label", "label_items"),
    "saved_views": ("create_views",),
    "stopping": ("request_stop", "RunStopped"),
}


@pytest.fixture(autouse=True)
def forgotten() -> None:
    for old in MOVED:
        sys.modules.pop(f"fiftyone_plugin.{old}", None)
        parent = sys.modules.get(f"fiftyone_plugin.{old}".rpartition(".")[0])
        vars(parent or fiftyone_plugin).pop(old.rpartition(".")[2], None)


@pytest.mark.parametrize("old", DOCUMENTED)
def test_an_old_import_finds_the_name_and_says_where_it_lives_now(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"fiftyone_plugin.{old} has moved to fiftyone_plugin"):
        module = importlib.import_module(f"fiftyone_plugin.{old}")
    for name in DOCUMENTED[old]:
        found = getattr(module, name)
        homes = [importlib.import_module(f"fiftyone_plugin.{home}") for home in MOVED[old]]
        assert any(found is getattr(home, name, None) for home in homes)


@pytest.mark.parametrize("old", MOVED)
def test_every_old_module_leads_to_modules_that_exist(old: str) -> None:
    for home in MOVED[old]:
        assert importlib.import_module(f"fiftyone_plugin.{home}")


def test_the_package_that_could_be_called_still_can_be() -> None:
    with pytest.warns(DeprecationWarning, match="has moved"):
        module = importlib.import_module("fiftyone_plugin.export")
    with pytest.raises(fiftyone_plugin.errors.UsageError, match="nowhere"):
        module("nowhere", out="nowhere-either")


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    with pytest.warns(DeprecationWarning, match="has moved"):
        module = importlib.import_module("fiftyone_plugin.saved_views")
    with pytest.raises(AttributeError, match="create_nothing"):
        module.create_nothing  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("fiftyone_plugin.never_was")


def test_what_databases_and_the_entry_point_name_can_be_imported_without_a_warning() -> None:
    code = "import fiftyone_plugin.cli, fiftyone_plugin.evaluation.fiftyone_results; fiftyone_plugin.cli.main"
    done = subprocess.run(
        [sys.executable, "-W", "error:fiftyone_plugin:DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_images_was_a_module_of_its_own() -> None:
    from fiftyone_plugin import images
    from fiftyone_plugin.images import reading

    with pytest.warns(DeprecationWarning, match="images.reading now"):
        assert images.read_image is reading.read_image
    with pytest.raises(AttributeError, match="read_nothing"):
        images.read_nothing  # noqa: B018
