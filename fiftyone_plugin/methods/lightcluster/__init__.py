"""LightCluster: foreground by levels of clusters, see docs/lightcluster.md."""

from .method import LightCluster

__all__ = ["LightCluster"]
