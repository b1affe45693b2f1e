"""How long a run will take here and what it will need on disk, learnt from the runs that ended here.

A run reads a sample of the images to fit, and every image once to label it. Both parts have a guess: seconds
to start, for an image of the sample, for one to label, and for one through the network. Every run that ended
leaves in ``rates.json`` of the cache folder how many times as long as guessed either part took here; those of
about the same size count most. Nothing heavy is imported: forms ask at every keystroke.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..common.files import write_json
from ..common.paths import cache_dir
from ..errors import PseudoMaskError

if TYPE_CHECKING:
    from .result import LabelResult

__all__ = ["Estimate", "Plan", "estimate", "format_bytes", "format_seconds", "learn", "likely_device"]

logger = logging.getLogger(__name__)

RATES_NAME = "rates.json"
FORMAT = 2
KEPT = 12  # runs that are remembered for one set of settings


class _Cost(NamedTuple):
    """What a method costs: seconds, on two cores, besides the network; passes; layers of features."""

    constant: float
    fit: float  # an image of the sample
    mask: float  # an image that is labelled
    passes: int  # over the sample
    layers: int


# What a run costs where none has ended yet. Measured with the offline ViT-S/14 at 448 pixels on two CPU
# cores, with 4, 24 and 100 images of coco27, beside other work: shares hold, and seconds are scaled to the
# 0.45 of the network on a quiet machine, itself scaled by width and patches, see _forward. lightcluster and
# datus are as measured in the former design; rough guesses: other devices, and alignseg.
FORWARD_S = {"cpu": 0.45, "mps": 0.05, "cuda": 0.002}
START_S = 5.0
REFINE_S = 0.02
COSTS = {
    "mosaic": _Cost(1.0, 0.04, 0.015, 1, 5),
    "lightcluster": _Cost(0.5, 0.15, 0.05, 2, 1),
    "datus": _Cost(0.5, 0.06, 0.01, 1, 4),
    "alignseg": _Cost(300.0, 0.3, 0.1, 3, 4),
}
UNKNOWN_COST = _Cost(10.0, 0.5, 0.1, 2, 4)
MASK_BYTES = 9_000  # a mask and its confidence map, PNG
REDUCED_BYTES = 328_000  # what labels an image of the sample anew stays in the run; mosaic, 1,024 patches
REDUCED_LIMIT = 1 << 30
WORKING_BYTES = 150_000  # of an image of the sample while it is fitted; mosaic
IN_MEMORY = 3 << 29  # bytes of features that are kept from one pass over the sample to the next
WIDTHS = {"tiny": (192, 0.3), "small": (384, 1.0), "base": (768, 3.6), "large": (1024, 12.0)}
KEEPS_REDUCED = "mosaic"


@dataclass(frozen=True)
class Plan:
    """A run to be estimated; settings are as in :class:`~fiftyone_plugin.runs.config.LabelConfig`."""

    images: int
    method: str
    backbone: str  # the one that will be used, see ..features.backbones.registry.default_here
    size: int = 448
    refine: str = "crf"
    device: str = "cpu"  # cpu, cuda or mps
    fit_images: int = 4000
    cached: float = 0.0  # share of the images whose features are cached, 0..1
    fitted: bool = False  # a model is there, nothing is fitted
    kept: bool = False  # features go to the cache
    cache_limit: int = 20 << 30
    tiles: int = 1  # along a side of an image, in which it is seen besides; 1 for none

    @property
    def passes(self) -> int:
        """Passes of an image through the network."""
        return 1 + self.tiles**2 if self.tiles > 1 else 1


@dataclass(frozen=True)
class Estimate:
    """What a run will take."""

    seconds: float  # of wall-clock time
    bytes: int  # of disk for masks, confidence maps, what is kept of the sample, and cached features
    runs: int  # with the same settings on this machine, that the figures rest on; 0: a guess
    working_bytes: int = 0  # of disk besides while the run lasts
    notes: tuple[str, ...] = ()  # what is good to know beforehand, a line each

    def __str__(self) -> str:
        """One line, such as ``about 4 min, 120 MB on disk, 15 MB more while it runs``."""
        text = f"about {format_seconds(self.seconds)}, {format_bytes(self.bytes)} on disk"
        more = f", {format_bytes(self.working_bytes)} more while it runs"
        return text + more if self.working_bytes > 0.05 * self.bytes else text

    @property
    def origin(self) -> str:
        """Where the figures come from, in a few words."""
        if not self.runs:
            return "a guess: no run with these settings has ended on this machine yet"
        return f"learnt from {self.runs} run{'s' if self.runs > 1 else ''} on this machine"


@dataclass(frozen=True)
class _Observation:
    """A finished run: its images, how often the guessed time it took, bytes of results an image."""

    images: int
    fit: float
    label: float
    mask_bytes: float


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
            return f"{value:.1f} {unit}" if value < 10 else f"{float(f'{value:.2g}'):.0f} {unit}"
    return f"{max(1, round(count / 1e3))} kB"


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


def estimate(plan: Plan, folder: Path | None = None) -> Estimate:
    """Predict time and disk of a run; the rates are kept in ``folder``, or else the cache folder."""
    rates = _read(folder or cache_dir())
    same = rates.get(_key(plan), [])
    place = _key(plan).split("|", 1)[1]
    # what other methods have taught of the same machine and network is better than nothing
    taught = same or [one for key, rows in rates.items() if key.endswith(place) for one in rows]
    seconds = _near(taught, plan.images, lambda one: one.label) * _guess_label(plan)
    seconds += START_S if plan.fitted else _near(taught, plan.images, lambda one: one.fit) * _guess_fit(plan)
    results = plan.images * (_near(same, plan.images, lambda one: one.mask_bytes) if same else MASK_BYTES)
    features = plan.images * (1.0 - plan.cached) * _feature_bytes(plan) if plan.kept else 0.0
    reduced = min(REDUCED_LIMIT, _sample(plan) * _reduced_bytes(plan)) if _keeps(plan) else 0.0
    size = round(results + reduced + min(features, plan.cache_limit))
    working = WORKING_BYTES * _sample(plan) if _keeps(plan) else 0
    return Estimate(seconds, size, len(same), working, tuple(_notes(plan, features)))


def _near(rows: Sequence[_Observation], images: int, value: Callable[[_Observation], float]) -> float:
    """Return the mean of a value over runs, those of about as many images first; 1 where there are none."""
    weights = [math.exp(-abs(math.log(max(1, images) / one.images))) for one in rows]
    total = sum(weights)
    return sum(w * value(one) for w, one in zip(weights, rows, strict=True)) / total if total else 1.0


def _guess_fit(plan: Plan) -> float:
    cost, sample = COSTS.get(plan.method, UNKNOWN_COST), _sample(plan)
    again = (cost.passes - 1) * max(0.0, sample - IN_MEMORY / _feature_bytes(plan))
    network = _forward(plan) * (sample + again) * (1 - _known(plan))
    return START_S + cost.constant + sample * cost.fit + network


def _guess_label(plan: Plan) -> float:
    cost, kept = COSTS.get(plan.method, UNKNOWN_COST), 0.0 if plan.fitted else float(_sample(plan))
    room = REDUCED_LIMIT / _reduced_bytes(plan) if _keeps(plan) else IN_MEMORY / _feature_bytes(plan)
    kept = min(kept, room)
    refine = REFINE_S if plan.refine != "none" else 0.0
    through = max(0.0, plan.images - kept) * (1 - _known(plan))
    return plan.images * (cost.mask + refine) + _forward(plan) * through


def _sample(plan: Plan) -> int:
    return min(plan.images, plan.fit_images)


def _known(plan: Plan) -> float:
    """Share of the images of which features are in the cache."""
    return min(1.0, max(0.0, plan.cached)) if plan.kept else 0.0


def _keeps(plan: Plan) -> bool:
    return plan.method == KEEPS_REDUCED and not plan.fitted


def _reduced_bytes(plan: Plan) -> float:
    return REDUCED_BYTES * _patches(plan) / 1024


def _notes(plan: Plan, features: float) -> list[str]:
    notes = []
    if plan.passes > 1:
        notes.append(f"every image goes through the network {plan.passes} times: as a whole, and in tiles")
    if plan.images > plan.fit_images and not plan.fitted:
        notes.append(
            f"classes are learnt from {plan.fit_images:,} of the {plan.images:,} images, drawn by content"
        )
    if features > plan.cache_limit:
        notes.append(
            f"the cache takes {format_bytes(plan.cache_limit)} of {format_bytes(features)} of features: "
            f"those of {1 - plan.cache_limit / features:.0%} of the images are computed again where needed"
        )
    return notes


def _backbone(plan: Plan) -> tuple[int, float, int]:
    """Return the width of tokens, the cost relative to the default's, and the side of a patch."""
    found = re.search(r"vit_(\w+?)_patch(\d+)", plan.backbone)
    width, factor = WIDTHS.get(found.group(1), (384, 1.0)) if found else (384, 1.0)
    return width, factor, int(found.group(2)) if found else 14


def _patches(plan: Plan) -> float:
    return (plan.size / _backbone(plan)[2]) ** 2


def _forward(plan: Plan) -> float:
    """Scale the default backbone's seconds by width, and by the number of patches and of passes."""
    each = FORWARD_S.get(plan.device, FORWARD_S["cpu"]) * _backbone(plan)[1] * _patches(plan) / 1024
    return plan.passes * each


def _feature_bytes(plan: Plan) -> float:
    """Float16 tokens of the layers that the method asks for."""
    layers = COSTS.get(plan.method, UNKNOWN_COST).layers
    return layers * 2 * _backbone(plan)[0] * _patches(plan)


def learn(result: LabelResult, folder: Path | None = None) -> None:
    """Remember what a finished run took; runs that were resumed, or took a fitted model, teach nothing.

    The rates are kept in ``folder``, or else the cache folder.
    """
    try:
        _learn(result, folder or cache_dir())
    except (OSError, PseudoMaskError) as error:  # a run that is done must not fail for this
        logger.info("the time of this run is not remembered: %s", error)


def _learn(result: LabelResult, folder: Path) -> None:
    run, work = result.run, result.run.get("work") or {}
    seconds, settings, images = run["seconds"], run["settings"], run["counts"]["labelled"]
    if not work.get("fitted") or work["images"] != run["counts"]["images"] or not images:
        return
    backbone = settings["backbone"]
    plan = Plan(
        images,
        settings["method"],
        backbone["backbone"],
        settings["size"],
        settings["refine"],
        backbone["device"],
        settings.get("fit_images", images),
        tiles=int(settings.get("method_config", {}).get("tiles", 1)),
    )
    if work["forwards"] < images:  # some features were in the cache
        plan = replace(plan, kept=True, cached=1 - work["forwards"] / images)
    paths = [path(row) for row in result.labelled for path in (result.mask_path, result.confidence_path)]
    observation = _Observation(
        images,
        fit=(seconds["total"] - seconds["masks"]) / _guess_fit(plan),
        label=seconds["masks"] / _guess_label(plan),
        mask_bytes=sum(path.stat().st_size for path in paths if path.is_file()) / images,
    )
    rates = _read(folder)
    rates[_key(plan)] = [*rates.get(_key(plan), []), observation][-KEPT:]
    folder.mkdir(parents=True, exist_ok=True)
    document = {key: [asdict(each) for each in rows] for key, rows in rates.items()}
    write_json(folder / RATES_NAME, {"format": FORMAT, "rates": document})


def _key(plan: Plan) -> str:
    return f"{plan.method}|{plan.backbone}|{plan.size}|{plan.device}|{plan.refine}"


def _read(folder: Path) -> dict[str, list[_Observation]]:
    """Return the rates; none where the file is missing, damaged or of another format."""
    try:
        document = json.loads((folder / RATES_NAME).read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            return {}
        return {key: [_Observation(**each) for each in rows] for key, rows in document["rates"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
