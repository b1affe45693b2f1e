"""How long a run will take here and what it will need on disk, learnt from the runs that ended here.

Every finished run leaves its counts and seconds in ``rates.json`` of the cache folder. A run of ``n`` images
is then predicted as the sum of

* the backbone's work: seconds an image, over the images whose features are not cached, from all runs with the
  same backbone, input size and device, whatever their method;
* masks: seconds an image, refinement included, from runs of the same method and settings;
* the rest (loading, fitting, pictures): a constant and a part an image, fitted to these runs.

What no run has taught yet is a guess. Nothing heavy is imported: forms ask at every keystroke.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.paths import cache_dir
from ..errors import PseudoMaskError

if TYPE_CHECKING:
    from .result import LabelResult

__all__ = [
    "Estimate",
    "Plan",
    "estimate",
    "format_bytes",
    "format_seconds",
    "layer_bytes",
    "learn",
    "likely_device",
]

logger = logging.getLogger(__name__)

RATES_NAME = "rates.json"
FORMAT = 1
KEPT = 12  # runs that are remembered for one set of settings
SPREAD = 3.0  # largest run / smallest, from which on a line is fitted

# What a run costs where none has ended yet, seconds. Measured with the offline ViT-S/14 at 448 pixels on two
# CPU cores, with the 100 images of coco27 (docs/benchmarks.md, speed), split between constant and image by
# runs of 8 images; the backbone's share is scaled by width and patches, see _guess_forward. Not measured, but
# rough guesses: other devices than the CPU, and alignseg.
FORWARD_S = {"cpu": 0.56, "mps": 0.08, "cuda": 0.02}
START_S = 8.0
CRF_S = 0.085
COSTS: dict[str, tuple[float, float, float]] = {  # method -> (constant, an image in the fit, an image's mask)
    "mosaic": (24.0, 0.25, 0.1),
    "lightcluster": (0.5, 0.15, 0.05),
    "datus": (0.5, 0.06, 0.01),
    "alignseg": (300.0, 0.3, 0.1),
}
UNKNOWN_COST = (10.0, 0.5, 0.1)
MASK_BYTES = 9_000  # a mask and its confidence map, PNG
LAYERS = 4  # of the feature cache
WIDTHS = {"tiny": (192, 0.3), "small": (384, 1.0), "base": (768, 3.6), "large": (1024, 12.0)}


@dataclass(frozen=True)
class Plan:
    """A run to be estimated.

    Attributes:
        images: number of images.
        method: name of the method.
        backbone: name of the backbone that will be used, see
            :func:`fiftyone_plugin.features.backbones.presence.default_here`.
        size: side of the network input in pixels.
        refine: ``crf`` or ``none``.
        device: ``cpu``, ``cuda`` or ``mps``.
        cached: share of the images whose features are cached, 0..1.
        fitted: a model is there, nothing is fitted.
        kept: features go to the cache.
    """

    images: int
    method: str
    backbone: str
    size: int = 448
    refine: str = "crf"
    device: str = "cpu"
    cached: float = 0.0
    fitted: bool = False
    kept: bool = True


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: wall-clock time.
        bytes: disk for masks, confidence maps and cached features.
        runs: number of runs with the same settings on this machine that the figures rest on; 0: a guess.
    """

    seconds: float
    bytes: int
    runs: int

    def __str__(self) -> str:
        """One line, such as ``about 4 min, 120 MB on disk``."""
        return f"about {format_seconds(self.seconds)}, {format_bytes(self.bytes)} on disk"

    @property
    def origin(self) -> str:
        """Where the figures come from, in a few words."""
        if not self.runs:
            return "a guess: no run with these settings has ended on this machine yet"
        return f"learnt from {self.runs} run{'s' if self.runs > 1 else ''} on this machine"


@dataclass(frozen=True)
class _Observation:
    """One finished run: what it did, and the seconds that took."""

    images: int
    computed: int
    features: float
    masks: float
    rest: float
    mask_bytes: int
    feature_bytes: int


def format_seconds(seconds: float) -> str:
    """Return a duration as a person says it: ``8 s``, ``4 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    minutes = 10 * round(minutes / 10)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest and hours < 10 else f"{round(minutes / 60)} h"


def format_bytes(count: float) -> str:
    """Return a size in two digits: ``40 kB``, ``120 MB``, ``1.3 GB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            value = count / size
            return f"{value:.1f} {unit}" if value < 10 else f"{_two_digits(value):.0f} {unit}"
    return f"{max(1, round(count / 1e3))} kB"


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


def likely_device() -> str:
    """Return the device that ``auto`` will most likely mean, without importing torch.

    Right wherever the driver and the build of torch fit each other; an estimate need not know more.
    """
    if sys.platform == "darwin" and os.uname().machine == "arm64":
        return "mps"
    try:
        build = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "cpu"
    return "cuda" if os.path.exists("/dev/nvidia0") and "+cpu" not in build else "cpu"


# ---------------------------------------------------------------------- asking


def estimate(plan: Plan, folder: Path | None = None) -> Estimate:
    """Predict time and disk of a run.

    Args:
        plan: the run.
        folder: where the rates are kept, ``None`` for the cache folder.
    """
    rates = _read(folder or cache_dir())
    same = rates.get(_method_key(plan.method, plan.backbone, plan.size, plan.device, plan.refine), [])
    shared = rates.get(_backbone_key(plan.backbone, plan.size, plan.device), [])
    to_compute = plan.images * (1.0 - min(1.0, max(0.0, plan.cached)))
    forward = _ratio([(o.features, o.computed) for o in shared])
    seconds = to_compute * (_guess_forward(plan) if forward is None else forward)
    constant, fit, mask = COSTS.get(plan.method, UNKNOWN_COST)
    masks = _ratio([(o.masks, o.images) for o in same])
    seconds += plan.images * (mask + (CRF_S if plan.refine == "crf" else 0.0) if masks is None else masks)
    guess = (START_S, 0.0) if plan.fitted else (START_S + constant, fit)
    rest = [] if plan.fitted else [(o.images, o.rest) for o in same]
    a, b = _line(rest, guess)
    mask_bytes = _ratio([(o.mask_bytes, o.images) for o in same]) or MASK_BYTES
    feature_bytes = _ratio([(o.feature_bytes, o.computed) for o in shared]) or _guess_feature_bytes(plan)
    size = round(plan.images * mask_bytes + (to_compute * feature_bytes if plan.kept else 0))
    return Estimate(seconds + a + b * plan.images, size, len(same))


def _ratio(pairs: Sequence[tuple[float, int]]) -> float | None:
    """Return sum / sum of the pairs, ``None`` where they count nothing."""
    count = sum(n for _, n in pairs)
    return sum(value for value, _ in pairs) / count if count else None


def _line(points: Sequence[tuple[int, float]], guess: tuple[float, float]) -> tuple[float, float]:
    """Fit seconds = a + b * images with a, b >= 0, relative errors weighing the same.

    Runs of about the same size cannot tell the constant from the part an image: the guess says how they share
    the time, and the runs how much slower than it this machine is.

    Args:
        points: (images, seconds) of runs, perhaps none.
        guess: a and b.
    """
    if not points:
        return guess
    sizes = [n for n, _ in points]
    if max(sizes) < SPREAD * min(sizes):
        ratio = sum(s / (guess[0] + guess[1] * n) for n, s in points) / len(points)
        return ratio * guess[0], ratio * guess[1]
    weights = [1.0 / max(seconds, 1e-3) ** 2 for _, seconds in points]
    total = sum(weights)
    mean_n = sum(w * n for w, (n, _) in zip(weights, points, strict=True)) / total
    mean_s = sum(w * s for w, (_, s) in zip(weights, points, strict=True)) / total
    spread = sum(w * (n - mean_n) ** 2 for w, (n, _) in zip(weights, points, strict=True)) / total
    joint = sum(w * (n - mean_n) * (s - mean_s) for w, (n, s) in zip(weights, points, strict=True)) / total
    slope = max(0.0, joint / spread)
    constant = mean_s - slope * mean_n
    return (constant, slope) if constant > 0 else (0.0, mean_s / mean_n)


def _guess_forward(plan: Plan) -> float:
    """Scale the default backbone's seconds by width, and by the number of patches."""
    width = re.search(r"vit_(\w+?)_patch(\d+)", plan.backbone)
    factor = WIDTHS.get(width.group(1), (384, 1.0))[1] if width else 1.0
    patch = int(width.group(2)) if width else 14
    return FORWARD_S.get(plan.device, FORWARD_S["cpu"]) * factor * (plan.size / 448 * 14 / patch) ** 2


def _guess_feature_bytes(plan: Plan) -> float:
    """Float16 tokens of the layers that methods ask for."""
    width = re.search(r"vit_(\w+?)_patch(\d+)", plan.backbone)
    dim = WIDTHS.get(width.group(1), (384, 1.0))[0] if width else 384
    patch = int(width.group(2)) if width else 14
    return LAYERS * 2 * dim * (plan.size / patch) ** 2


# ---------------------------------------------------------------------- learning


def learn(result: LabelResult, folder: Path | None = None) -> None:
    """Remember what a finished run took; runs that were resumed, or took a fitted model, teach nothing.

    Args:
        result: the run; its record has ``work``, see :mod:`fiftyone_plugin.runs.pipeline`.
        folder: where the rates are kept, ``None`` for the cache folder.
    """
    try:
        _learn(result, folder or cache_dir())
    except (OSError, PseudoMaskError) as error:  # a run that is done must not fail for this
        logger.info("the time of this run is not remembered: %s", error)


def _learn(result: LabelResult, folder: Path) -> None:
    run, work = result.run, result.run.get("work") or {}
    seconds, settings = run["seconds"], run["settings"]
    images = run["counts"]["labelled"]
    if not work.get("whole") or settings.get("model") or not images:
        return
    backbone = settings["backbone"]
    place = (backbone["backbone"], settings["size"], backbone["device"])
    features, masks = seconds.get("features", 0.0), seconds.get("masks", 0.0)
    observation = _Observation(
        images=images,
        computed=work["computed"],
        features=features if work["computed"] else 0.0,
        masks=masks,
        rest=max(0.0, seconds["total"] - features - masks),
        mask_bytes=sum(
            _size(path(row)) for row in result.labelled for path in (result.mask_path, result.confidence_path)
        ),
        feature_bytes=work["computed"] * work["feature_bytes"],
    )
    rates = _read(folder)
    keys = [_method_key(settings["method"], *place, settings["refine"])]
    if observation.computed:
        keys.append(_backbone_key(*place))
    for key in keys:
        rates[key] = [*rates.get(key, []), observation][-KEPT:]
    _write(folder, rates)


def layer_bytes(layers: Iterable[str], grid: tuple[int, int], dim: int) -> int:
    """Return the bytes that the feature cache takes for one image, float16.

    Args:
        layers: layer names, see :mod:`fiftyone_plugin.features.backbones.vit`.
        grid: patches, (h, w).
        dim: width D of the tokens.
    """
    patches = grid[0] * grid[1]
    known = {"cls": dim, "attn": patches}
    return 2 * sum(known.get(layer, patches * dim) for layer in layers)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _method_key(method: str, backbone: str, size: int, device: str, refine: str) -> str:
    return f"{method}|{_backbone_key(backbone, size, device)}|{refine}"


def _backbone_key(backbone: str, size: int, device: str) -> str:
    return f"{backbone}|{size}|{device}"


def _read(folder: Path) -> dict[str, list[_Observation]]:
    """Return the rates; none where the file is missing, damaged or of another format."""
    try:
        document = json.loads((folder / RATES_NAME).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            return {}
        return {key: [_Observation(**each) for each in rows] for key, rows in document["rates"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(folder: Path, rates: Mapping[str, Sequence[_Observation]]) -> None:
    from ..common.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {key: [asdict(each) for each in rows] for key, rows in rates.items()}
    write_json(folder / RATES_NAME, {"format": FORMAT, "rates": document})
