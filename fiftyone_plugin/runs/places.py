"""Where the stages of a run are done: what an engine, and its workers on other machines, are told of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.parallel import batched
from ..common.remote import url_of
from ..engines.base import Engine, Lost, Needs
from ..engines.registry import create_engine
from ..engines.versions import versions_needed
from ..errors import ImageReadError, UsageError
from ..features.loading import Loaded, Loaders
from ..images.listing import ImageItem
from .config import LabelConfig
from .folder import RunDirectory
from .labelling import Labeller, LabelWork, far_config, require_image
from .model import FittedModel
from .session import Session

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..methods.base import Method

__all__ = ["Place", "engine_of"]

CHUNK = 16  # images at once: 60 MB of features of the default method at 448 px


def engine_of(config: LabelConfig) -> Engine:
    """Return the engine that settings name, not yet connected.

    Raises:
        UsageError: settings of workers without an engine that has some.
        MissingDependencyError: it is not installed.
    """
    needs = Needs(config.workers, config.cpus_per_worker, config.gpus_per_worker, versions_needed())
    return create_engine(config.engine, address=config.address, needs=needs, jobs=config.jobs)


@dataclass(frozen=True)
class Place:
    """One run on an engine: the session and the source are those of this process, the folder is open."""

    engine: Engine
    config: LabelConfig
    session: Session
    source: ImageFeatureSource
    folder: RunDirectory

    @contextmanager
    def features(self, method: Method) -> Iterator[None]:
        """Let the workers compute features of the source meanwhile, where this process has no GPU."""
        if not self.engine.apart or self.session.backbone.device != "cpu":
            yield
            return
        near, backbone = self.source.loaders, self.session.backbone
        work = _FeatureWork(
            far_config(self.config, self.session),
            backbone.loaded.state_sha256,
            method.inputs,
            self._example(),
            method.seen_in_tiles,
        )
        self.source.loaders = _FarLoaders(engine=self.engine, work=work, at_hand=self.source.at_hand)
        try:
            yield
        finally:
            self.source.loaders = near

    def labelling(self, model: FittedModel, memos: Path) -> LabelWork:
        """Return what is done to every image: by the labeller of this process, unless workers are apart."""
        here = None
        if not self.engine.apart:
            append = self.folder.append
            here = Labeller(self.session, model, self.folder, lambda row: append([row]), memos, self.source)
        config = far_config(self.config, self.session)
        root = url_of(self.folder.final_root) or str(self.folder.root.absolute())
        run_id, images = self.folder.run_id, len(self.folder.items)
        return LabelWork(config, root, run_id, memos.absolute(), images, self._example(), here)

    def _example(self) -> str:
        """Return an image on the disk that this process sees; empty where it sees none."""
        return next((item.path for item in self.folder.items[:100] if os.path.isfile(item.path)), "")


@dataclass(frozen=True)
class _FeatureWork:
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
    tiles: int

    def open(self) -> Callable[[Sequence[ImageItem]], Iterator[Loaded | ImageReadError]]:
        """Load the backbone.

        Raises:
            UsageError: the weights or the images are not where this machine looks for them.
        """
        require_image(self.example)
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
    for group in batched(source.load(), source.batch_size):
        pixels = [loaded.pixels for loaded in group if loaded.pixels is not None]
        tensors = {name: tensor.cpu().numpy() for name, tensor in source.forward(pixels, layers).items()}
        for row, loaded in enumerate(group):
            own = {name: array[row].copy() for name, array in tensors.items()}
            found[loaded.item.key] = replace(loaded, pixels=None, layers=own)
    for item in items:
        yield found.get(item.key) or ImageReadError(item.path, source.failures.get(item.key, "not read"))


@dataclass(frozen=True)
class _FarLoaders(Loaders):
    """Loads images with their features from workers, see :class:`~..features.loading.Loaders`.

    Attributes:
        engine: where.
        work: what is done there.
        at_hand: tells of which images the features are here already.
    """

    engine: Engine = field(kw_only=True)
    work: _FeatureWork = field(kw_only=True)
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
