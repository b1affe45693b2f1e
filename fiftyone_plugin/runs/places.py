"""Where the stages of a run are done: what an engine is told of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.remote import url_of
from ..engines.base import Engine, Needs
from ..engines.registry import create_engine, versions_needed
from .config import LabelConfig
from .far_features import FarLoaders, FeatureWork
from .folder import RunDirectory
from .labelling import Labeller, LabelWork, far_config
from .model import FittedModel
from .session import Session

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..methods.base import Method

__all__ = ["Place", "engine_of"]


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
    """One run on an engine.

    Attributes:
        engine: where images are labelled.
        config: settings of the run.
        session: backbone and store of this process.
        source: the images, for this process.
        folder: of the run, open.
    """

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
        work = FeatureWork(
            far_config(self.config, self.session),
            backbone.loaded.state_sha256,
            method.inputs,
            self._example(),
            method.seen_in_tiles,
        )
        self.source.loaders = FarLoaders(engine=self.engine, work=work, at_hand=self.source.at_hand)
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
