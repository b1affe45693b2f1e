"""A labelled dataset of the photographs, and what its fields must be, read from the pixels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

FAST = {
    "method": "mosaic",
    "size": 140,
    "classes": 4,
    "refine": "none",
    "backbone": "offline-vits14",
    "precision": "float32",
    "jobs": 1,
}


@pytest.fixture(scope="session")
def template(fo, photos, backbone, tmp_path_factory):
    """The photographs, labelled once: nobody changes this dataset."""
    from fiftyone_plugin import label_dataset

    dataset = fo.Dataset()
    dataset.add_samples([fo.Sample(filepath=str(path)) for path in sorted(photos.iterdir())])
    label_dataset(dataset, "auto", out=tmp_path_factory.mktemp("template") / "auto", **FAST)
    return dataset


@pytest.fixture
def labelled(fo, template, tmp_path):
    """A copy of the labelled photographs, with a run of its own in a folder of its own."""
    dataset = template.clone()
    config = dataset.get_run_info("pseudomask_auto").config
    old, new = config.out, str(tmp_path / "auto")
    shutil.copytree(old, new)
    config.out, config.dataset_id = new, str(dataset._doc.id)
    dataset.update_run_config("pseudomask_auto", config)
    paths = [path.replace(old, new) for path in dataset.values("auto.mask_path")]
    dataset.set_values("auto.mask_path", paths)
    yield dataset
    fo.delete_dataset(dataset.name)


class State:
    """All that an edit may change, and undo must give back."""

    def __init__(self, dataset, field="auto"):
        dataset.reload()
        paths = dataset.values(f"{field}.mask_path")
        self.masks = [path and Path(path).read_bytes() for path in paths]
        self.lists = dataset.values(f"{field}_classes")
        self.coverage = dataset.values(f"{field}_coverage")
        self.targets = dict(dataset.mask_targets[field])
        config = dataset.get_run_info(f"pseudomask_{field}").config
        self.areas = dict(config.areas)

    def __eq__(self, other):
        return vars(self) == vars(other)


def masks(dataset, field="auto"):
    return [sample[field].get_mask() if sample[field] else None for sample in dataset]


def check_fields(dataset, field="auto"):
    """Compare lists, coverage and areas with the pixels and the mask targets."""
    dataset.reload()
    names = dataset.mask_targets[field]
    counts, total = {}, 0
    for sample in dataset.exists(field):
        mask = sample[field].get_mask()
        present = [names[int(id_)] for id_ in np.unique(mask) if int(id_) in names]
        assert sample[f"{field}_classes"] == list(dict.fromkeys(present))
        assert sample[f"{field}_coverage"] == (mask > 0).mean()
        total += mask.size
        for id_, count in zip(*np.unique(mask, return_counts=True), strict=True):
            counts[int(id_)] = counts.get(int(id_), 0) + int(count)
    areas = dataset.get_run_info(f"pseudomask_{field}").config.areas
    expected = {str(id_): count / total for id_, count in counts.items() if id_}
    for id_ in set(areas) | set(expected):
        assert abs(areas.get(id_, 0) - expected.get(id_, 0)) < 1e-3, id_
