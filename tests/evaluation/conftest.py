import uuid

import pytest
from hypothesis import settings

from .fiftyone_helpers import NAMES, make_pair, save

# examples run on a shared machine: how long one takes says nothing
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture
def masks(fo, tmp_path):
    """Twelve samples with masks on disk and mask targets; the last two lack a prediction or a truth."""
    dataset = fo.Dataset(f"test-{uuid.uuid4().hex[:12]}")
    samples, pairs = [], []
    for i in range(12):
        pred, true = make_pair(i)
        sample = fo.Sample(filepath=str(tmp_path / f"{i}.jpg"))
        if i != 10:
            sample["clusters"] = fo.Segmentation(mask_path=save(tmp_path / f"p{i}.png", pred))
        if i != 11:
            sample["gt"] = fo.Segmentation(mask_path=save(tmp_path / f"t{i}.png", true))
        samples.append(sample)
        pairs.append((pred, true))
    dataset.add_samples(samples)
    dataset.mask_targets = {"gt": NAMES}
    dataset.save()
    yield dataset, pairs[:10]
    if fo.dataset_exists(dataset.name):
        fo.delete_dataset(dataset.name)
