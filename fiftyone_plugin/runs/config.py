"""Settings of a run."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from typing import Any, Literal, TypeVar, cast

from ..common.checks import Number, check_numbers
from ..engines.registry import ENGINES
from ..errors import UsageError, unknown
from ..masks.refine import DEFAULT_REFINER, REFINERS, create_refiner
from ..methods import DEFAULT_METHOD
from ..methods.registry import CATALOG

__all__ = [
    "DEFAULT_CLASSES",
    "ENGINE_SETTINGS",
    "MANY",
    "PLENTY",
    "PRESETS",
    "LabelConfig",
    "default_classes",
    "resolve_refinement",
    "with_number_of_classes",
]

T = TypeVar("T")

GIB = 1024**3
NUMBERS = {
    "size": Number(14, 4096),
    "seed": Number(0, 2**32 - 2),
    "batch_size": Number(1, optional=True),
    "jobs": Number(0),
    "cache_limit": Number(0),
    "fit_images": Number(1),
    "recut": Number(1, 65_535, optional=True),
    "workers": Number(1, optional=True),
    "cpus_per_worker": Number(1, optional=True),
    "gpus_per_worker": Number(0, whole=False, optional=True),
}
ENGINE_SETTINGS = ("engine", "address", "workers", "gpus_per_worker", "cpus_per_worker")
"""Settings that say where images are labelled; no mask depends on them."""


OTHER_WORDS = {"n_classes": "classes", "k": "classes", "K": "classes", "random_state": "seed"}
OTHER_WORDS |= {"n_jobs": "jobs", "weights": "backbone", "image_size": "size"}
"""What settings are called elsewhere -> here."""

MANY = "many"
DEFAULT_CLASSES, PLENTY = 20, 100  # classes, of so many images or more
FEWEST, MOST = 30, 100  # clusters that are worth naming

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"refine": "none", "options": {"cue_regions": 0, "sample_size": 32_768, "spread": False}},
    "best": {"refine": "crf"},  # the defaults; nothing that was tried on top of them was better
}
"""Settings around the default method, see docs/mosaic.md."""

WORDS = {
    "preset": tuple(PRESETS),
    "method": tuple(CATALOG),
    "refine": tuple(REFINERS),
    "engine": ENGINES,
    "precision": ("auto", "float32", "bfloat16"),
}


def _answer_unknown_settings(cls: type[T]) -> type[T]:
    """Let a dataclass name the nearest setting where it is given one that it has not."""
    init, known = cls.__init__, [item.name for item in fields(cast(Any, cls))]

    @wraps(init)
    def checked(self: T, *args: Any, **settings: Any) -> None:
        for name in settings:
            if name in OTHER_WORDS:
                raise UsageError(f"unknown setting {name!r}; it is called {OTHER_WORDS[name]!r}")
            if name not in known:
                raise unknown("setting", name, known)
        init(self, *args, **settings)

    cls.__init__ = checked  # type: ignore[assignment]
    return cls


@_answer_unknown_settings
@dataclass(frozen=True)
class LabelConfig:
    """Settings of a run; every one has a default, and is checked when it is given.

    Attributes:
        preset: ``fast`` or ``best``, for the default method: sets what is not set otherwise (a value that
            equals the default counts as not set), see :data:`PRESETS`; ``None`` for the defaults.
        method: name of the method.
        classes: number of classes K of the data set; ``None`` for 20, and fewer for fewer than 100 images,
            see :func:`default_classes`; ``auto`` where the method can find it (mosaic);
            ``many`` for as many as are worth naming, see docs/teach.md. With labels, the clusters behind the
            classes, and ``many`` for ``None``.
        backbone: backbone name or checkpoint path, ``None`` for the default.
        size: side of the network input in pixels.
        recut: with a fitted model: cut it into this number of classes, without fitting (mosaic).
        refine: a name of :data:`~..masks.refine.REFINERS`, or ``None`` for the default.
        seed: seed of everything random.
        device: torch device or ``auto``; ``cuda:0,cuda:1`` or ``all`` GPUs share the images.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        batch_size: images in a forward pass, ``None`` for what suits the device.
        fit_images: images that a method learns from at most; of more, so many are drawn by their content.
        jobs: worker processes for per-image work, 0 for all cores.
        cache: keep features on disk for other runs, some 4 MB an image: worth it to try several settings.
        cache_limit: bytes that the cache may take.
        engine: ``local``, or ``ray`` for the machines of a cluster.
        address: of the cluster, ``HOST:PORT`` or ``auto``; ``None`` for one that ends with the run.
        workers: worker processes of the engine, ``None`` for as many as there is room for.
        gpus_per_worker: GPUs of each, or a part of one; ``None`` for one where there are any.
        cpus_per_worker: cores of each, ``None`` for what suits the machines.
        options: further constructor arguments of the method, see ``pseudomask methods NAME``.

    Raises:
        UsageError: an unknown setting, or a value that cannot be; the message names the nearest that can.
    """

    preset: str | None = None
    method: str = DEFAULT_METHOD
    classes: int | Literal["auto", "many"] | None = None
    recut: int | None = None
    backbone: str | None = None
    size: int = 448
    refine: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    batch_size: int | None = None
    fit_images: int = 4000
    jobs: int = 0
    cache: bool = False
    cache_limit: int = 20 * GIB
    engine: str = "local"
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    cpus_per_worker: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_words()
        values = dict(vars(self))
        values["backbone"] = os.fspath(self.backbone) if self.backbone is not None else None
        check_numbers(values, NUMBERS)
        if self.classes not in ("auto", MANY, None):
            check_numbers(values, {"classes": Number(1, 65_535)})
        if not isinstance(self.options, dict) or not all(isinstance(name, str) for name in self.options):
            raise UsageError(f"options are a dict of the method's options, got {self.options!r:.100}")
        if self.preset is not None:
            preset = dict(PRESETS[self.preset])
            values["options"] = {**preset.pop("options", {}), **self.options}
            defaults = {item.name: item.default for item in fields(self)}
            values |= {name: value for name, value in preset.items() if values[name] == defaults[name]}
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check_words(self) -> None:
        for name, known in WORDS.items():
            word = getattr(self, name)
            if word not in known and not (word is None and name in ("preset", "refine")):
                raise unknown(name if name != "refine" else "refinement", word, known)
        if self.preset is not None and self.method != DEFAULT_METHOD:
            raise UsageError(f"presets are of the default method, {DEFAULT_METHOD}, not of {self.method}")
        if isinstance(self.classes, str) and self.classes not in ("auto", MANY):
            raise UsageError(
                f"classes must be a number, 'many', or 'auto' to find it, got {self.classes!r:.100}"
            )
        one = r"[a-z]+(:\d+)?"
        if not isinstance(self.device, str) or not re.fullmatch(f"{one}(,{one})*", self.device):
            raise UsageError(
                "device is auto, cpu, cuda, mps or the like, all, or several such as cuda:0,cuda:1, "
                f"got {self.device!r:.100}"
            )
        if self.backbone is not None:
            from ..features.backbones import check_backbone

            check_backbone(os.fspath(self.backbone))

    def validate(self) -> None:
        """Do nothing: every setting was checked when it was given. For callers of earlier versions."""


def default_classes(n_images: int) -> int:
    """Return the number of classes of a run that names none: 20, and of few images what they can hold.

    That is twice the square root of the number of images: 5 of 7, 15 of 59, 20 from 100 on.
    """
    return max(2, round(DEFAULT_CLASSES * (min(PLENTY, n_images) / PLENTY) ** 0.5))


def with_number_of_classes(config: LabelConfig, n_images: int, taught: bool = False) -> LabelConfig:
    """Return settings in which the number of classes is one, or ``auto``.

    ``many`` is as many as there are images, 30 to 100. A run that is taught learns from labels, where
    ``None`` means ``many``.
    """
    if config.classes == MANY or (taught and config.classes is None):
        return replace(config, classes=min(MOST, max(FEWEST, n_images)))
    return config if config.classes is not None else replace(config, classes=default_classes(n_images))


def resolve_refinement(refine: str | None) -> str:
    """Return the refiner to use.

    Raises:
        UsageError: an unknown name.
        MissingDependencyError: what was asked for is not installed.
    """
    name = refine or DEFAULT_REFINER
    create_refiner(name)
    return name
