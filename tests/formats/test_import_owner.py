"""Imports own the masks that they wrote, and nothing else: what shows them elsewhere keeps them."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.formats import import_masks


@pytest.fixture
def made(fo, tmp_path, monkeypatch):
    """A dataset of three pictures, two folders of masks for them (all 1, all 2), and copies to delete."""
    monkeypatch.setattr(fo.config, "default_dataset_dir", str(tmp_path / "default"))
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    for i in range(3):
        Image.new("RGB", (8, 6), (40 * i, 0, 0)).save(tmp_path / f"p{i}.jpg")
        dataset.add_sample(fo.Sample(filepath=str(tmp_path / f"p{i}.jpg")))
        for value in (1, 2):
            (tmp_path / f"m{value}").mkdir(exist_ok=True)
            Image.fromarray(np.full((6, 8), value, np.uint8)).save(tmp_path / f"m{value}" / f"p{i}.png")
    before = set(fo.list_datasets()) - {dataset.name}
    yield dataset
    for name in set(fo.list_datasets()) - before:
        fo.delete_dataset(name)


def ids(dataset, field) -> list[int]:
    return [int(sample[field].get_mask().max()) for sample in dataset]


def test_an_import_is_replaced_and_its_files_go(made, tmp_path):
    import_masks(made, tmp_path / "m1", "imp")
    old = [Path(path) for path in made.values("imp.mask_path")]
    with pytest.raises(UsageError, match="exists"):
        import_masks(made, tmp_path / "m2", "imp")
    import_masks(made, tmp_path / "m2", "imp", overwrite=True)
    assert ids(made, "imp") == [2, 2, 2]
    assert not any(path.exists() or path.parent.exists() for path in old)


@pytest.mark.parametrize("who", ["a clone", "a field cloned", "a field renamed", "a renamed dataset"])
def test_what_is_shown_elsewhere_stays(made, tmp_path, who):
    import fiftyone as fo

    import_masks(made, tmp_path / "m1", "imp")
    name = made.name
    target = made
    if who == "a clone":
        keeper, field = made.clone(f"{name}-copy"), "imp"
    elif who == "a field cloned":
        made.clone_sample_field("imp", "backup")
        keeper, field = made, "backup"
    elif who == "a field renamed":
        made.rename_sample_field("imp", "good")
        keeper, field = made, "good"
    else:
        made.name = f"{name}-old"
        keeper, field = made, "imp"
        target = fo.Dataset(name)
        target.add_samples([fo.Sample(filepath=path) for path in made.values("filepath")])
    import_masks(target, tmp_path / "m2", "imp", overwrite=True)
    assert ids(target, "imp") == [2, 2, 2]
    keeper.reload()
    assert ids(keeper, field) == [1, 1, 1]


def test_a_named_folder_is_not_replaced_under_another_field(made, tmp_path):
    import_masks(made, tmp_path / "m1", "imp", out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"field 'imp' of dataset .* shows;"):
        import_masks(made, tmp_path / "m2", "other", out=tmp_path / "out", overwrite=True)
    assert ids(made, "imp") == [1, 1, 1]
    assert not made.has_sample_field("other")
    import_masks(made, tmp_path / "m2", "imp", out=tmp_path / "out", overwrite=True)
    assert ids(made, "imp") == [2, 2, 2]


@pytest.mark.parametrize("stored", [True, False])
def test_masks_of_a_person_are_not_written_over(fo, made, tmp_path, stored):
    for sample in made.iter_samples(autosave=True):
        mask = np.full((6, 8), 7, np.uint8)
        path = tmp_path / f"mine-{Path(sample.filepath).stem}.png"
        Image.fromarray(mask).save(path)
        sample["truth"] = fo.Segmentation(mask=mask) if stored else fo.Segmentation(mask_path=str(path))
    with pytest.raises(UsageError, match="no import wrote"):
        import_masks(made, tmp_path / "m2", "truth", overwrite=True)
    assert ids(made, "truth") == [7, 7, 7]
