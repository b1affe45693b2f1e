"""What turns images into features in one run: backbone, feature store, and sources over them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.parallel import usable_cores
from ..common.paths import cache_dir
from ..common.remote import READERS, url_of
from ..errors import UsageError
from ..images.listing import ImageItem
from .config import LabelConfig

if TYPE_CHECKING:
    from ..features.backbones import Backbone
    from ..features.loading import Loaders
    from ..features.source import ImageFeatureSource
    from ..features.store import FeatureStore
    from ..methods.base import Method
    from .model import FittedModel
    from .streaming import Replica

__all__ = ["Session"]

logger = logging.getLogger(__name__)

COMPILED_FROM = 4_000  # images: compiling takes a minute, and saves a tenth of a millisecond an image


@dataclass(frozen=True)
class Session:
    """A backbone and the store of its features, as one set of settings wants them; nothing to close.

    There is no store where the settings want none, or, with a warning, where the disk cannot be written and
    holds nothing of these features.
    """

    backbones: tuple[Backbone, ...]  # the same one, once on each device
    store: FeatureStore | None
    size: int  # side of the network input in pixels, as it was asked for
    batch_size: int
    jobs: int

    @property
    def backbone(self) -> Backbone:
        """The backbone on the first device, where methods are fitted."""
        return self.backbones[0]

    @classmethod
    def open(cls, config: LabelConfig, model: FittedModel | None = None, images: int = 0) -> Session:
        """Load the backbone and open the store.

        Of a fitted model, input size and backbone are used, in the precision that it was fitted in unless
        ``config`` names one, so that it labels the same images the same everywhere. ``config`` may name
        another place of the same weights. The number of images tells whether it pays to compile the network
        on a GPU.

        Raises:
            UsageError: other weights than the model's, or the cache is no folder.
            MissingDependencyError: the weights are not there.
        """
        from ..features.backbones import Backbone, load_backbone, pick_batch_size, pick_devices

        name, precision, size = config.backbone, config.precision, config.size
        if model is not None:
            name, size = name or model.backbone_here, model.size
            precision = model.precision if model.precision and precision == "auto" else precision
        first, *others = pick_devices(config.device)
        backbone = load_backbone(name, cache_dir=cache_dir(), device=first, precision=precision)
        if model is not None:
            model.check_weights(backbone)
        backbones = [backbone]
        for device in others:
            loaded = replace(backbone.loaded, model=copy.deepcopy(backbone.model))
            backbones.append(Backbone(loaded, device, backbone.precision))
        if first.startswith("cuda") and images >= COMPILED_FROM:
            for each in backbones:
                each.compile()
        batch_size = config.batch_size or pick_batch_size(backbone, size)
        store = _open_store(backbone, size, config)
        return cls(tuple(backbones), store, size, batch_size, config.jobs)

    def source(
        self, items: Sequence[ImageItem], layers: Sequence[str], memo_dir: Path | None = None, tiles: int = 1
    ) -> ImageFeatureSource:
        """Return the features of images, see :class:`~fiftyone_plugin.features.source.ImageFeatureSource`.

        A fit keeps in ``memo_dir`` what it derives from images; ``tiles`` lie along a side of an image, which
        is seen in them besides; 1 for none.
        """
        from ..features.tiles import open_source

        return open_source(
            items,
            self.backbone,
            layers,
            size=self.size,
            batch_size=self.batch_size,
            tiles=tiles,
            store=self.store,
            memo_dir=memo_dir,
            loaders=self._loaders(bool(items) and url_of(items[0].path) is not None),
        )

    def _loaders(self, remote: bool) -> Loaders:
        """Return who decodes: processes where a GPU would wait for threads, unless a store is asked first.

        Threads that wait for images from far away take no processor, so there are more of them.
        """
        from ..features.loading import Loaders

        if self.backbone.device.startswith("cuda") and self.store is None:
            return Loaders(max(READERS if remote else 0, self.jobs or usable_cores()), processes=True)
        return Loaders(max(READERS, self.jobs) if remote else self.jobs)

    def replicas(self, method: Method) -> list[Replica]:
        """Return what labels on each device: the fitted method, and copies of it."""
        from .streaming import Replica

        replicas = [Replica(self.backbone, method)]
        for backbone in self.backbones[1:]:
            replicas.append(Replica(backbone, copy.deepcopy(method)))
            replicas[-1].method.device = backbone.device
        return replicas

    def prepare(self, method: Method, work_dir: Path | None = None) -> None:
        """Tell a method what it may use here, which does not change results."""
        method.n_jobs, method.device, method.work_dir = self.jobs, self.backbone.device, work_dir


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
