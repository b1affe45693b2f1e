"""Features of the images that a method learns from, computed by workers on other machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..engines.base import Engine, Lost
from ..errors import ImageReadError, UsageError
from ..features.loading import Loaded, Loaders
from ..images.listing import ImageItem
from .config import LabelConfig
from .session import Session

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource

__all__ = ["FarLoaders", "FeatureWork"]

CHUNK = 16  # images at once: 60 MB of features of the default method at 448 px


@dataclass(frozen=True)
class FeatureWork:
    """To read, decode and describe images, see :class:`~..engines.base.Work`.

    Attributes:
        config: settings, as a worker needs them, see :func:`~.labelling.far_config`.
        weights_sha256: of the weights that the worker must have.
        layers: as the method names them.
        example: an image that every machine must see; empty for none.
        tiles: in which images are seen besides, see :class:`~..features.tiles.TiledSource`; 1 for none.
    """

    config: LabelConfig
    weights_sha256: str
    layers: tuple[str, ...]
    example: str
    tiles: int = 1

    def open(self) -> Callable[[Sequence[ImageItem]], Iterator[Loaded | ImageReadError]]:
        """Load the backbone.

        Raises:
            UsageError: the weights or the images are not where this machine looks for them.
        """
        if self.example and not os.path.isfile(self.example):
            raise UsageError(
                f"does not see the image {self.example}: the images have to be on a disk that all machines "
                "share, under the same path"
            )
        session = Session.open(self.config)
        if session.backbone.loaded.state_sha256 != self.weights_sha256:
            raise UsageError(
                f"has other weights of {session.backbone.name} than this process: name their file with "
                "--backbone, on a disk that all machines share"
            )
        return lambda items: _describe(session.source(items, self.layers, tiles=self.tiles), items)


def _describe(source: ImageFeatureSource, items: Sequence[ImageItem]) -> Iterator[Loaded | ImageReadError]:
    """Yield the images with their features, or why they cannot be read, in their order."""
    found: dict[str, Loaded] = {}
    layers = sorted(set(source.resolved.values()))
    for group in _batches(source):
        pixels = [loaded.pixels for loaded in group if loaded.pixels is not None]
        tensors = {name: tensor.cpu().numpy() for name, tensor in source.forward(pixels, layers).items()}
        for row, loaded in enumerate(group):
            own = {name: array[row].copy() for name, array in tensors.items()}
            found[loaded.item.key] = replace(loaded, pixels=None, layers=own)
    for item in items:
        yield found.get(item.key) or ImageReadError(item.path, source.failures.get(item.key, "not read"))


def _batches(source: ImageFeatureSource) -> Iterator[list[Loaded]]:
    from ..common.parallel import batched

    return batched(source.load(), source.batch_size)


@dataclass(frozen=True)
class FarLoaders(Loaders):
    """Loads images with their features from workers, see :class:`~..features.loading.Loaders`.

    Attributes:
        engine: where.
        work: what is done there.
        at_hand: tells of which images the features are here already.
    """

    engine: Engine = field(kw_only=True)
    work: FeatureWork = field(kw_only=True)
    at_hand: Callable[[ImageItem], bool] = field(kw_only=True)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any], ahead: int) -> Iterator[Any]:
        """Yield every item and what became of it, in order; ``function`` looks at those that are at hand."""
        every = list(items)
        far = [item for item in every if not self.at_hand(item)]
        names = {item.key for item in far}
        found = self.engine.gather(self.work, far, CHUNK)
        for item in every:
            one = next(found) if item.key in names else function(item)
            yield item, ImageReadError(item.path, one.reason) if isinstance(one, Lost) else one
        for _ in found:  # to its end, where it lets go of the workers
            pass
