"""What is told of the limits of a fit, and that methods tell it where they meet one."""

from __future__ import annotations

import numpy as np

from fiftyone_plugin.clustering.region_classes import MAX_SPECTRAL
from fiftyone_plugin.methods.alignseg.method import AlignSeg
from fiftyone_plugin.methods.limits import tell_clustering, tell_part


def test_a_part_is_told_with_its_size(caplog):
    tell_part(1.0, 100, "classes are learnt from the segments")
    tell_part(3.2, 100, "classes are learnt from the segments")
    assert not caplog.messages
    tell_part(0.05, 80_000, "classes are learnt from the segments")
    (message,) = caplog.messages
    assert message.startswith("classes are learnt from the segments of about 4,000 of the 80,000 images")


def test_a_change_of_clustering_is_told(caplog):
    tell_clustering("spectral", MAX_SPECTRAL, "regions")
    tell_clustering("kmeans", MAX_SPECTRAL + 1, "regions")
    assert not caplog.messages
    tell_clustering("spectral", MAX_SPECTRAL + 1, "regions")
    (message,) = caplog.messages
    assert message.startswith("20,001 regions are clustered by k-means")


def test_alignseg_tells_that_it_clusters_too_many_regions_otherwise(caplog):
    method = AlignSeg(n_classes=3, n_init=1)
    descriptors = np.random.default_rng(0).normal(size=(MAX_SPECTRAL + 1, 4)).astype(np.float32)
    method._fit_classes(descriptors, np.ones(len(descriptors)))
    assert method.classes_.n_classes_ == 3
    assert "20,001 regions are clustered by k-means" in caplog.text
