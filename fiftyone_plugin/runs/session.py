"""What turns images into features in one run: backbone, feature store, and sources over them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.paths import cache_dir
from ..errors import UsageError
from ..images.listing import ImageItem
from .config import LabelConfig

if TYPE_CHECKING:
    from ..features.backbones import Backbone
    from ..features.source import ImageFeatureSource
    from ..features.store import FeatureStore
    from ..methods.base import Method
    from .model import FittedModel

__all__ = ["Session"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """A backbone and the store of its features, as one set of settings wants them; nothing to close.

    Attributes:
        backbone: the backbone, on its device.
        store: keeps features; ``None`` where the settings want none, or, with a warning, where the disk
            cannot be written and holds nothing of these features.
        size: side of the network input in pixels, as it was asked for.
        batch_size: images in a forward pass.
        jobs: worker processes for per-image work, 0 for all cores.
    """

    backbone: Backbone
    store: FeatureStore | None
    size: int
    batch_size: int
    jobs: int

    @classmethod
    def open(cls, config: LabelConfig, model: FittedModel | None = None) -> Session:
        """Load the backbone and open the store.

        Args:
            config: settings: device, precision, batch size, workers, cache.
            model: a fitted model, whose input size and backbone are used, in the precision that it was fitted
                in unless ``config`` names one, so that it labels the same images the same everywhere.
                ``config`` may name another place of the same weights.

        Raises:
            UsageError: other weights than the model's, or the cache is no folder.
            MissingDependencyError: the weights are not there.
        """
        from ..features.backbones import load_backbone

        name, precision, size = config.backbone, config.precision, config.size
        if model is not None:
            name, size = name or model.backbone_here, model.size
            precision = model.precision if model.precision and precision == "auto" else precision
        backbone = load_backbone(name, cache_dir=cache_dir(), device=config.device, precision=precision)
        if model is not None:
            model.check_weights(backbone)
        batch_size = config.batch_size or (4 if backbone.device == "cpu" else 32)
        return cls(backbone, _open_store(backbone, size, config), size, batch_size, config.jobs)

    def source(
        self, items: Sequence[ImageItem], layers: Sequence[str], memo_dir: Path | None = None
    ) -> ImageFeatureSource:
        """Return the features of images, see :class:`~fiftyone_plugin.features.source.ImageFeatureSource`."""
        from ..features.source import ImageFeatureSource

        return ImageFeatureSource(
            items,
            self.backbone,
            layers,
            size=self.size,
            batch_size=self.batch_size,
            store=self.store,
            memo_dir=memo_dir,
        )

    def prepare(self, method: Method, work_dir: Path | None = None) -> Method:
        """Tell a method what it may use here, which does not change results."""
        method.n_jobs, method.device, method.work_dir = self.jobs, self.backbone.device, work_dir
        return method


def _open_store(backbone: Backbone, size: int, config: LabelConfig) -> FeatureStore | None:
    if not config.cache:
        return None
    from ..features.source import store_spec
    from ..features.store import FeatureStore, cannot_be_written

    try:
        return FeatureStore(cache_dir(), store_spec(backbone, size), limit_bytes=config.cache_limit)
    except UsageError as error:
        if not cannot_be_written(error.__cause__):
            raise
        logger.warning("%s. This run goes on without, and computes features when it needs them", error)
        return None
