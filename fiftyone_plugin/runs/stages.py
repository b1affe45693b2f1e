"""The stages of a run, in order: fit, teach where there are labels, predict, conclude."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..common.files import atomic
from ..common.progress import Progress, TimedProgress, annotate
from ..common.skipped import Skipped
from ..engines.base import Engine, Lost
from ..errors import ImageReadError, PseudoMaskError, UsageError
from ..features.sampling import image_rng
from ..images.content import content_rank
from ..images.drawing import contact_sheet
from ..images.listing import ImageItem
from ..images.reading import read_reduced
from ..masks.files import read_mask
from ..methods.base import Method
from .exemplars import write_exemplars
from .folder import RunDirectory
from .images import describe_images
from .labelling import LabelWork, Spent
from .labels import GivenLabels
from .likeness import write_dendrogram
from .model import FittedModel
from .record import RunDocument
from .samples import SampleRow, total_areas
from .session import Session

if TYPE_CHECKING:
    from ..features.source import ImageFeatureSource
    from ..features.types import FeatureSource
    from ..methods.taught import Taught
    from ..methods.taught.lesson import Pupil

__all__ = ["conclude", "draw_sheet", "fit", "none_readable", "predict", "taught_method", "teach"]

logger = logging.getLogger(__name__)

SHEET_IMAGES = 12
CELL = (230, 172)  # width and height of a picture, pixels
OTHERS = 200  # unlabelled images that a taught method learns from
PATCHES = 160  # of each
CHUNK = 64  # images that a worker on another machine is given at once


def fit(source: ImageFeatureSource, sample: FeatureSource, method: Method, progress: Progress) -> None:
    """Fit a method on the images of a source, or some of them.

    Raises:
        PseudoMaskError: not one image could be read, or as the method says.
    """
    if len(sample) < len(source):
        logger.warning(
            "classes are learnt from %s of the %s images, drawn by their content; --fit-images takes more",
            f"{len(sample):,}",
            f"{len(source):,}",
        )
    try:
        method.fit(sample, progress=progress)
    except PseudoMaskError as error:
        if len(source.failures) >= len(sample):
            raise none_readable(source) from error
        raise


def none_readable(source: ImageFeatureSource) -> PseudoMaskError:
    """Return the error of a run in which not one image could be read."""
    listed = [f"{key}: {reason}" for key, reason in list(source.failures.items())[:5]]
    return PseudoMaskError(
        f"none of the {len(source)} images could be read. First reasons: {'; '.join(listed)}"
    )


def taught_method(method: Method, labels: GivenLabels) -> Taught:
    """Return a method that can be taught, with all that ``method`` has learnt.

    Raises:
        UsageError: it has no clusters of the kind that is needed.
    """
    from ..methods.mosaic import Mosaic
    from ..methods.taught import Taught

    if not isinstance(method, Mosaic):
        raise UsageError(f"labels can be learnt from with the default method, mosaic, not with {method.name}")
    if not method.__sklearn_is_fitted__():
        return Taught(**{**method.get_params(), "discover": labels.discover})
    return Taught.of(method, labels.discover)


def teach(source: ImageFeatureSource, method: Taught, labels: GivenLabels, progress: Progress) -> Taught:
    """Teach a fitted method what the labels say, in the light of the other images of the source.

    What the fit has kept of an image is not computed again.

    Raises:
        PseudoMaskError: not one labelled image can be read.
    """
    paths = {item.key: item.path for item in source.items}
    rest = sorted(set(paths) - set(labels.masks))
    seed = method.config.random_state
    others = sorted(sorted(rest, key=lambda key: (content_rank(paths[key], seed), key))[:OTHERS])
    ids = sorted(labels.names)
    with progress.stage("teach", total=len(labels.masks) + len(others)) as stage:
        every = {key: _shares(labels, key, ids, source.grid) for key in sorted(labels.masks)}
        shares = {key: found for key, found in every.items() if found is not None}
        found: dict[str, Pupil] = {}
        for key, digest, pupil in _pupils(source, method, [*shares, *others], shares):
            found[key] = pupil if key in shares else _thinned(pupil, digest, seed)
            stage.update()
        for key in shares.keys() - found.keys():
            logger.warning("label of %s: %s", key, source.failures.get(key, "not read"))
        labelled = [found[key] for key in sorted(shares) if key in found]
        if not labelled:
            raise PseudoMaskError("not one labelled image can be read, so there is nothing to learn from")
        return method.teach(labelled, [found[key] for key in others if key in found], labels.names)


def _shares(labels: GivenLabels, key: str, ids: list[int], grid: tuple[int, int]) -> np.ndarray | None:
    from ..methods.taught.lesson import patch_shares

    try:
        return patch_shares(labels.mask(key), ids, grid)
    except ImageReadError as error:
        logger.warning("label of %s: %s", key, error.reason)
        return None


def _pupils(
    source: ImageFeatureSource, method: Taught, keys: list[str], shares: dict[str, np.ndarray]
) -> Iterable[tuple[str, str, Pupil]]:
    """Yield key, digest and numbers of images: from memory where a fit has kept them, else by the network."""
    missing = []
    for loaded in source.load(keys, known=lambda digest: True):
        image = source.describe(loaded, keep=True)
        pupil = method.kept_pupil(image, shares.get(image.key))
        if pupil is None:
            missing.append(image.key)
        else:
            yield image.key, image.digest, pupil
    for batch in source.batches(missing) if missing else ():
        for image, pupil in zip(batch.images, method.pupils(batch, shares), strict=True):
            yield image.key, image.digest, pupil


def _thinned(pupil: Pupil, digest: str, seed: int) -> Pupil:
    """Return some patches of an unlabelled image, drawn by its content."""
    rows = np.sort(image_rng(seed, digest).permutation(len(pupil.vectors))[:PATCHES])
    return replace(
        pupil, vectors=pupil.vectors[rows], clusters=pupil.clusters[rows], neighbours=rows[:, None]
    )


def predict(
    work: LabelWork,
    engine: Engine,
    items: Sequence[ImageItem],
    source: ImageFeatureSource,
    directory: RunDirectory,
    progress: Progress,
) -> Iterator[SampleRow]:
    """Label images and write their masks, in one pass; yields a row when its files are there.

    What cannot be labelled is in ``source.failures`` afterwards.
    """
    todo = items
    if engine.apart:
        directory.announce(items)
        todo = [item for item in items if item.key not in source.failures]  # they are not tried again
    with progress.stage("masks", total=len(todo)) as stage:
        for found in engine.map(work, todo, CHUNK):
            annotate(stage, engine.describe() or (work.here.bottleneck if work.here else ""))
            if isinstance(found, Spent):
                source.forwards += found.forwards if engine.apart else 0
                continue
            if isinstance(found, Lost):
                found = Skipped(found.item.key, found.reason)
            if isinstance(found, Skipped):
                source.failures[found.key] = found.reason
            else:
                if engine.apart:  # else it was recorded before its mask was written
                    directory.append([found])
                yield found
            stage.update()


def conclude(
    directory: RunDirectory,
    model: FittedModel,
    session: Session,
    rows: list[SampleRow],
    record: RunDocument,
    progress: TimedProgress,
    began: float,
) -> RunDocument:
    """Write the tables and pictures of a run whose masks are all there, and its record.

    The rows are those of all images, in the order of the keys; the run began at ``began`` by
    ``time.perf_counter``. Returns the record, complete.
    """
    directory.remove_unlisted(rows)
    method = model.method
    names = method.class_names
    directory.write_classes(names)
    paths = {item.key: item.path for item in directory.items}
    labelled = [row for row in rows if row.status == "labelled"]
    with progress.stage("contact sheet", total=1, unit="sheet") as stage:
        title = f"{method.name} · {session.backbone.name} · {len(labelled)} images · {len(names)} classes"
        draw_sheet(directory, rows, paths, names, title)
        if method.get_config().get("n_classes") == "auto":
            _draw_evidence(directory, method)
        stage.update()
    with progress.stage("exemplars", total=1, unit="set") as stage:
        write_exemplars(directory, rows, paths)
        write_dendrogram(directory, method, names)
        stage.update()
    seconds = {"total": time.perf_counter() - began, **progress.seconds}
    record = replace(
        record,
        status="complete",
        run_id=directory.run_id,
        settings={**record.settings, **describe_images({row.image: row.stamp for row in rows})},
        counts={"images": len(rows), "labelled": len(labelled), "skipped": len(rows) - len(labelled)},
        classes={str(id_): name for id_, name in names.items()},
        areas={str(id_): share for id_, share in total_areas(labelled).items()},
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
    )
    if method.kept_name is not None:
        directory.keep_tokens(method.kept_name)
    directory.write_samples(rows)
    directory.write_run(record)
    directory.finish()
    return record


def draw_sheet(
    directory: RunDirectory,
    rows: list[SampleRow],
    paths: Mapping[str, str],
    names: dict[int, str],
    title: str,
) -> None:
    """Write ``contact_sheet.png``: images spread evenly over the run, beside their masks.

    ``paths`` leads from the key of an image to its file.
    """
    labelled = [row for row in rows if row.status == "labelled"]
    picks = np.unique(np.linspace(0, len(labelled) - 1, min(SHEET_IMAGES, len(labelled))).round().astype(int))
    pairs = filter(None, (_read_pair(directory, labelled[i], paths) for i in picks))
    with atomic(directory.root / "contact_sheet.png") as partial:
        contact_sheet(pairs, names, title, cell=CELL).save(partial, format="PNG")


def _draw_evidence(directory: RunDirectory, method: Method) -> None:
    """Write ``eigenvalues.png`` for a method that found its number of classes in a spectrum."""
    from ..images.plots import plot_eigenvalues

    eigenvalues = np.asarray(getattr(method, "eigenvalues_", ()))
    if len(eigenvalues):
        with atomic(directory.root / "eigenvalues.png") as partial:
            plot_eigenvalues(eigenvalues, method.n_classes_, partial)


def _read_pair(
    directory: RunDirectory, row: SampleRow, paths: Mapping[str, str]
) -> tuple[str, np.ndarray, np.ndarray] | None:
    try:
        mask = read_mask(directory.mask_file(row.mask))
        scale = min(1.0, max(CELL[0] / mask.shape[1], CELL[1] / mask.shape[0]))
        height, width = (max(1, round(n * scale)) for n in mask.shape)
        return row.image, read_reduced(paths[row.image], height, width)[0], mask
    except ImageReadError:
        return None  # gone since it was labelled: its mask stays, the sheet shows the others
