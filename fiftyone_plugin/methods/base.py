"""The contract: a method is a scikit-learn estimator over a stream of images, with one typed config."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import sklearn.exceptions
from sklearn.base import BaseEstimator

from ..common.progress import NullProgress, Progress
from ..errors import ImageReadError, PseudoMaskError, UsageError, did_you_mean
from ..features.sampling import PatchSample, sample_patches
from ..features.types import FeatureBatch, FeatureSource, ImageFeatures
from ..images.drawing import Panel
from ..masks.scores import DeviceScores, LabelScores
from .options import MethodConfig

__all__ = ["Method", "NotFittedError", "SegmentationMethod", "State", "hard_scores", "sample_features"]


C = TypeVar("C", bound=MethodConfig, covariant=True)
M = TypeVar("M", bound="SegmentationMethod[MethodConfig]")

State = tuple[dict[str, object], dict[str, np.ndarray]]
"""What a fitted method is saved as: learnt values, which JSON can hold, and arrays by name."""


class NotFittedError(PseudoMaskError, sklearn.exceptions.NotFittedError):
    """A method was asked for what it has not learnt yet."""


class SegmentationMethod(BaseEstimator, Generic[C]):
    """Learns from a stream of images in bounded memory, then labels one image at a time.

    A method sets :attr:`name`, :attr:`config_class` and :attr:`has_background`, and has :attr:`inputs`,
    ``_fit``, ``_predict``, ``_get_state`` and ``_set_state``; the rest may stay as it is here. What is learnt
    ends in ``_``. The constructor takes the options of the config, the first by position too, and ``n_jobs``.

    Attributes:
        n_jobs: worker processes for per-image work, 0 for all cores; does not change results.
        work_dir: folder for checkpoints, set before fit and kept by an interrupted run; ``None``: keep none.
            A fit that finds a checkpoint of the same settings and images goes on from it, to the same result.
        device: torch device to train on.
    """

    name: ClassVar[str]
    has_background: ClassVar[bool] = False
    """Label 0 is a background that the method finds; without it every pixel gets a class."""
    refines: ClassVar[bool] = False
    """Its scores follow the pixels already, so that nothing but up-sampling is left to do."""
    can_recut: ClassVar[bool] = False
    """Fitted, it can be cut into another number of classes without reading any image."""
    config_class: type[C]
    n_jobs: int

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "config_class" in vars(cls):
            _add_constructor(cls, cls.config_class)

    def _store(self, values: dict[str, Any]) -> None:
        """Keep the options as they were given, beside the defaults, and check them all."""
        self.n_jobs = values.pop("n_jobs", 0)
        known = self.config_class.known(values)
        for option in self.config_class.describe():
            setattr(self, option.name, known.get(option.name, option.default))
        self.work_dir: Path | None = None
        self.device = "cpu"
        self._checked: tuple[dict[str, object], C] | None = None
        self.config  # noqa: B018  # raises for a wrong option

    @property
    def config(self) -> C:
        """The options, checked and typed.

        Raises:
            UsageError: one of them is impossible; the message names it.
        """
        given = {name: getattr(self, name) for name in self.config_class.names()}
        if self._checked is None or self._checked[0] != given:
            self._checked = given, self.config_class(**given)
        return self._checked[1]

    def set_params(self: M, **params: object) -> M:
        """Set options by name; they are checked together.

        Raises:
            UsageError: there is no such option, or one is impossible; nothing is changed then.
        """
        before = self.get_params(deep=False)
        if unknown := sorted(params.keys() - before.keys()):
            near = did_you_mean(unknown[0], before)
            raise UsageError(f"method {self.name} has no option {unknown[0]}{near}")
        try:
            for name, value in params.items():
                setattr(self, name, value)
            self.config  # noqa: B018
        except UsageError:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        return self

    # ------------------------------------------------------------------ what a method has

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """Layers to extract, see :mod:`fiftyone_plugin.features.backbones.vit`."""

    @property
    def seen_in_tiles(self) -> int:
        """Tiles along a side of an image in which it is seen besides, see ``features.tiles``; 1 for none."""
        return 1

    @property
    @abstractmethod
    def n_classes_(self) -> int:
        """Number of classes found by :meth:`fit`."""

    @property
    def class_names(self) -> dict[int, str]:
        """Class id -> name of the classes that masks can show, in the order of the ids."""
        return {k: f"class {k}" for k in range(1, int(getattr(self, "n_classes_", 0)) + 1)}

    @abstractmethod
    def _fit(self, features: FeatureSource, progress: Progress) -> None:
        """Learn; iterate over the stream as often as needed, and never hold the whole data set."""

    @abstractmethod
    def _predict(self, image: ImageFeatures) -> LabelScores:
        """Label one image."""

    @abstractmethod
    def _get_state(self) -> State:
        """Return learnt values, which JSON can hold, and arrays."""

    @abstractmethod
    def _set_state(self, values: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`_get_state` returned, which a stranger may have written."""

    def _explain(self, image: ImageFeatures) -> list[Panel]:
        raise UsageError(f"method {self.name} does not show its stages")

    def _recut(self: M, n_classes: int) -> M:
        raise UsageError(
            f"{self.name} cannot be cut into another number of classes: "
            f"run it again with --classes {n_classes}"
        )

    # ------------------------------------------------------------------ what callers use

    def fit(self: M, features: FeatureSource, *, progress: Progress | None = None) -> M:
        """Learn from a stream of images.

        Raises:
            PseudoMaskError: the source yields no image, or training fails; the message says how.
        """
        self._fit(features, progress or NullProgress())
        return self

    def prefetch(self, images: list[ImageFeatures]) -> None:
        """Do what can be done for several images at once, and leave it in their ``memo``; may do nothing."""

    def predict(self, features: ImageFeatures) -> LabelScores:
        """Label one image: the classes that occur in it and their soft scores.

        Raises:
            NotFittedError: before :meth:`fit`.
            ImageReadError: the image cannot be read any more.
        """
        self._require_fitted()
        return self._predict(features)

    def predict_batch(self, batch: FeatureBatch) -> list[DeviceScores | ImageReadError]:
        """Label several images; the error of one that cannot be read any more stands in its place.

        A method that labels on the device overrides this; the result of an image must not depend on the
        others of its batch.

        Raises:
            NotFittedError: before :meth:`fit`.
        """
        self._require_fitted()
        self.prefetch(batch.images)
        found: list[DeviceScores | ImageReadError] = []
        for image in batch.images:
            try:
                found.append(DeviceScores.of(self._predict(image), self.device))
            except ImageReadError as error:  # noqa: PERF203 - one bad image must not end the run
                found.append(error)
        return found

    def predict_kept(self, images: list[ImageFeatures]) -> list[DeviceScores | None]:
        """Label images from what the fit has left in their ``memo``, without the network.

        Returns:
            For each image what :meth:`predict_batch` would, to the byte; ``None`` where the memo lacks it.

        Raises:
            NotFittedError: before :meth:`fit`.
        """
        self._require_fitted()
        return [None] * len(images)

    @property
    def kept_name(self) -> str | None:
        """Name in the memos of images under which a fit keeps what labels them without the network."""
        return None

    @property
    def can_explain(self) -> bool:
        """It shows its stages on one image."""
        return type(self)._explain is not SegmentationMethod._explain

    def explain(self, image: ImageFeatures) -> list[Panel]:
        """Return the panels of a fitted method for one image, in the order of the stages.

        The photo before them and the final mask after them are added by the caller.

        Raises:
            UsageError: the method shows no stages.
            NotFittedError: before :meth:`fit`.
            ImageReadError: the image cannot be read any more.
        """
        self._require_fitted()
        return self._explain(image)

    def recut(self: M, n_classes: int) -> M:
        """Return the method with K other classes, without reading any image.

        Raises:
            UsageError: it cannot be cut, or not into that many.
            NotFittedError: before :meth:`fit`.
        """
        self._require_fitted()
        return self._recut(n_classes)

    def get_config(self) -> dict[str, Any]:
        """Return the options as JSON has them (``n_jobs`` left out: it does not change results)."""
        return self.config.to_json()

    def get_state(self) -> State:
        """Return learnt state: JSON-serialisable values, and arrays.

        Raises:
            NotFittedError: before :meth:`fit`.
        """
        self._require_fitted()
        return self._get_state()

    def set_state(self, values: dict[str, object], arrays: dict[str, np.ndarray]) -> None:
        """Restore what :meth:`get_state` returned.

        Raises:
            KeyError: something is missing.
            UsageError: something does not fit.
        """
        self._set_state(values, arrays)

    def __sklearn_is_fitted__(self) -> bool:
        return any(name.endswith("_") and not name.startswith("_") for name in vars(self))

    def _require_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")


Method = SegmentationMethod[MethodConfig]
"""A method, whatever its options."""


def _add_constructor(cls: type[Any], config: type[MethodConfig]) -> None:
    """Give a class the constructor, its signature and its docstring from the options of its config."""
    options = sorted(config.describe(), key=lambda option: option.name != "n_classes")
    described = [*((o.name, o.default, o.help) for o in options), ("n_jobs", 0, "worker processes, 0: all")]
    first, *names = (name for name, _, _ in described)

    def __init__(self: Method, /, *args: object, **kwargs: object) -> None:
        bound = dict(zip((first,), args, strict=False))
        if len(args) > 1 or bound.keys() & kwargs:
            raise UsageError(f"{cls.__name__} takes {first} alone by position, and once")
        self._store({**bound, **kwargs})

    kinds = [inspect.Parameter.POSITIONAL_OR_KEYWORD, *[inspect.Parameter.KEYWORD_ONLY] * len(names)]
    parameters = [
        inspect.Parameter(name, kind, default=default)
        for (name, default, _), kind in zip(described, kinds, strict=True)
    ]
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = inspect.Signature([own, *parameters])  # type: ignore[attr-defined]
    cls.__init__ = __init__
    lines = [f"    {name}: {text}; default {default!r}" for name, default, text in described]
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or cls.__name__), "", "Args:", *lines])


def sample_features(
    features: FeatureSource,
    vectors: Callable[[ImageFeatures], np.ndarray],
    progress: Progress,
    *,
    budget: int,
    seed: int,
) -> PatchSample:
    """Sample patches of all images under a progress bar, see :func:`~..features.sampling.sample_patches`.

    Raises:
        PseudoMaskError: the source yields no image.
    """
    n = len(features)
    with progress.stage("sample", total=n) as stage:
        sample = sample_patches(features, n, vectors, budget=budget, seed=seed, advance=stage.update)
    if len(sample.vectors) == 0:
        raise PseudoMaskError("no image could be read, so there is nothing to learn from")
    return sample


def hard_scores(labels: np.ndarray, *, refined: bool = False) -> LabelScores:
    """Return scores of 0 and 1 for the ids that occur in an (h, w) map."""
    ids = np.unique(labels)
    return LabelScores(ids, (labels[None] == ids[:, None, None]).astype(np.float32), refined=refined)
