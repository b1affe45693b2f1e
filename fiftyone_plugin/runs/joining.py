"""Runs of parts of the images, labelled with one fitted model, become one run.

The tables of the runs are sorted by key, so they are merged row by row and never held; masks are hard links
where the file system has them, else copies. The result is what one run over all images would have left.
"""

from __future__ import annotations

import filecmp
import hashlib
import heapq
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ..common.files import atomic
from ..common.parallel import batched
from ..common.progress import NullProgress, Progress
from ..common.remote import ahead, folder_of
from ..common.stamps import StampsDigest
from ..errors import ImageReadError, PseudoMaskError, UsageError
from ..images.left_out import LeftOut
from ..images.naming import mask_names
from ..images.shards import Shard
from .cleaning import TOKENS
from .exemplars import exemplar_path, write_exemplars
from .folder import RunDirectory
from .images import IMAGE_SETTINGS, NamesDigest
from .joinable import FITTED_BY, Part, check_parts, class_names, open_part
from .likeness import write_dendrogram
from .model import ARRAYS_NAME, FittedModel
from .record import RunDocument
from .result import LabelResult
from .samples import SampleRow, iterate_samples, read_samples, total_areas
from .spool import SpooledDirectory, open_run
from .stages import SHEET_IMAGES, draw_sheet

__all__ = ["join", "join_runs"]

CHUNK = 1000  # rows that are written to the journal at once, before their masks


def join(
    runs: Sequence[str | Path],
    *,
    out: str | Path,
    overwrite: bool = False,
    partial: bool = False,
    progress: Progress | None = None,
) -> LabelResult:
    """Make one run of runs of parts of the images; their folders stay as they are.

    Args:
        runs: folders of finished runs that one fitted model has labelled. An image may be in several of them
            if its masks are the same, byte by byte.
        out: folder of the new run.
        overwrite: replace an earlier run in ``out``.
        partial: join also where shards of the whole are missing.
        progress: where stages report to.

    Returns:
        The result, as :func:`~fiftyone_plugin.runs.api.label` returns it.

    Raises:
        UsageError: a folder holds no finished run, models or settings differ, a shard is missing, one image
            has two masks, or ``out`` is taken.
        PseudoMaskError: the disk is full.

    Example:
        >>> join(["part-1", "part-2"], out="labels")  # doctest: +SKIP
        LabelResult('labels': 240 labelled, 2 skipped, 20 classes)
    """
    parts, target = [folder_of(run) for run in runs], folder_of(out)
    record = join_runs(parts, target, overwrite=overwrite, partial=partial, progress=progress)
    folder = open_run(target)
    folder.fetch_finished()
    rows = read_samples(folder.samples_csv)
    return LabelResult(folder.final_root, rows, record.class_names, record.to_json(), LeftOut())


def join_runs(
    runs: Sequence[Path],
    out: Path,
    *,
    overwrite: bool = False,
    partial: bool = False,
    progress: Progress | None = None,
) -> RunDocument:
    """Do as :func:`join`, without holding the rows; returns the record of the new run."""
    began = time.perf_counter()
    parts = [open_part(run) for run in runs]
    check_parts(parts, out, partial)
    target = open_run(out)
    try:
        names = class_names(parts)
        folder = target.open(parts[0].record.settings, resume=False, restart=overwrite)
        try:
            joined = _Join(parts, folder, progress or NullProgress())
            joined.link()
            record = joined.conclude(names, began)
            if isinstance(folder, SpooledDirectory):  # on the disk the earlier run goes as a whole
                folder.remove_unlisted(iterate_samples(folder.samples_csv))
        except BaseException:
            folder.remove_outputs()
            folder.remove_if_empty()
            raise
        folder.finish()
        return record
    except OSError as error:
        if isinstance(error, PseudoMaskError):
            raise
        raise PseudoMaskError(
            f"the runs were not joined in {out}: {error}; mend that and join them again"
        ) from error
    finally:
        target.close()


class _Join:
    """The work, row by row."""

    def __init__(self, parts: Sequence[Part], folder: RunDirectory, progress: Progress) -> None:
        self.parts = parts
        self.folder = folder
        self.progress = progress
        self.counts: Counter[str] = Counter()
        self.keys, self.stamps = NamesDigest(), StampsDigest()
        self._names = self._new_names()
        self._far = any(isinstance(each, SpooledDirectory) for each in (folder, *(p.folder for p in parts)))

    def link(self) -> None:
        """Bring every mask into the new run, and write its table."""
        total = sum(part.record.counts.get("images", 0) for part in self.parts)
        with self.progress.stage("join", total=total) as stage:

            def rows() -> Iterator[SampleRow]:
                for chunk in batched(self._merged(), CHUNK):
                    self.folder.append(new for _, new, _ in chunk)  # so that --overwrite finds every mask
                    for _ in ahead(self._link_row, chunk) if self._far else map(self._link_row, chunk):
                        pass
                    yield from (new for _, new, _ in chunk)
                    stage.update(len(chunk))

            self.folder.write_samples(rows())

    def conclude(self, names: dict[int, str], began: float) -> RunDocument:
        """Write the other records and the pictures; returns the run's record."""
        records = [part.record for part in self.parts]
        first, roots = records[0], {record.images_root for record in records}
        self._copy_once("model", TOKENS, "eigenvalues.png")
        self.folder.write_classes(names)
        paths = _Paths(self.parts)
        title = f"{first.settings['method']} · {self.counts['labelled']} images · {len(names)} classes"
        draw_sheet(self.folder, list(self._spread()), paths, names, title)
        write_exemplars(self.folder, iterate_samples(self.folder.samples_csv), paths)
        self._borrow_exemplars(names)
        with suppress(UsageError):  # no model, or none that this version reads
            write_dendrogram(self.folder, FittedModel.load(self.folder.model).method, names)
        areas = total_areas(iterate_samples(self.folder.samples_csv))
        images = self.counts["images"], self.keys.hexdigest(), self.stamps.hexdigest()
        joined = [{"run_id": one.run_id, "shard": one.shard, **one.counts} for one in records]
        record = replace(
            first,
            run_id=self.folder.run_id,
            settings={
                **{k: v for k, v in first.settings.items() if k not in FITTED_BY},
                **dict(zip(IMAGE_SETTINGS, images, strict=True)),
                "model": hashlib.sha256((self.folder.model / ARRAYS_NAME).read_bytes()).hexdigest(),
            },
            counts={name: self.counts[name] for name in ("images", "labelled", "skipped")},
            classes={str(id_): name for id_, name in names.items()},
            areas={str(id_): share for id_, share in areas.items()},
            work={**_summed(one.work for one in records), "joined": joined},
            left_out=_left_out([one.left_out for one in records]),
            images_root=first.images_root if len(roots) == 1 else None,
            seconds=_summed(one.seconds for one in records),
            shard=None,
        )
        record.seconds["join"] = round(time.perf_counter() - began, 3)
        self.folder.write_run(record)
        return record

    def _new_names(self) -> Mapping[str, str]:
        """Return key -> name of the mask where names may clash; shards of one list have no such names."""
        shards = [part.record.shard for part in self.parts]
        if all(shards) and len({Shard.parse(shard or "").count for shard in shards}) == 1:
            return {}
        keys = sorted({row.image for part in self.parts for row, _ in part.rows()})
        return dict(zip(keys, mask_names(keys), strict=True))

    def _merged(self) -> Iterator[tuple[SampleRow, SampleRow, Part]]:
        """Yield every image once, by key: its row as it was and as it will be, and its run."""
        merged = heapq.merge(*(part.rows() for part in self.parts), key=lambda pair: pair[0].image)
        for key, group in groupby(merged, key=lambda pair: pair[0].image):
            row, part = self._one_of(list(group))
            new = replace(row, mask=self._names.get(key, row.mask)) if row.mask else row
            self.counts.update(("images", new.status))
            self.keys.add(key)
            self.stamps.add(key, new.stamp)
            yield row, new, part

    def _one_of(self, found: list[tuple[SampleRow, Part]]) -> tuple[SampleRow, Part]:
        """Return the row of an image that several runs may have: a mask goes before a reason for none."""
        labelled = [pair for pair in found if pair[0].mask] or found[:1]
        row, part = labelled[0]
        for other, theirs in labelled[1:]:
            one, two = part.folder.mask_file(row.mask), theirs.folder.mask_file(other.mask)
            if not filecmp.cmp(one, two, shallow=False):
                raise UsageError(
                    f"{row.image} has other masks in {part.folder.final_root} and "
                    f"{theirs.folder.final_root}: leave one of the runs out, or label the image again"
                )
        return row, part

    def _link_row(self, entry: tuple[SampleRow, SampleRow, Part]) -> None:
        old, new, part = entry
        if not old.mask:
            return
        for kind in ("confidence", "masks"):
            target = self.folder.root / kind / new.mask
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _link(part.folder.mask_file(old.mask, kind), target)
            except (FileNotFoundError, ImageReadError) as error:
                if kind == "masks":
                    raise UsageError(
                        f"{part.folder.final_root}/masks/{old.mask} is gone: label {part.folder.final_root} "
                        "again with --resume"
                    ) from error
            except FileExistsError as error:
                raise UsageError(
                    f"two images have the mask {new.mask}: the list of images has changed from shard to "
                    "shard; label the shards again"
                ) from error
        part.folder.forget(old.mask)
        self.folder.stored(new.mask)

    def _copy_once(self, *names: str) -> None:
        """Bring over what one of the runs has: its model, what it has kept of its fit."""
        for name in names:
            root = next((part.folder.root for part in self.parts if (part.folder.root / name).exists()), None)
            for path in sorted([root / name, *(root / name).rglob("*")] if root is not None else ()):
                if root is not None and path.is_file():
                    target = self.folder.root / path.relative_to(root)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _link(path, target)

    def _spread(self) -> Iterator[SampleRow]:
        """Yield the labelled rows that the contact sheet shows."""
        n = self.counts["labelled"]
        wanted = set(np.linspace(0, n - 1, min(SHEET_IMAGES, n)).round().astype(int).tolist())
        labelled = (r for r in iterate_samples(self.folder.samples_csv) if r.status == "labelled")
        yield from (row for number, row in enumerate(labelled) if number in wanted)

    def _borrow_exemplars(self, names: Iterable[int]) -> None:
        """Take the strip of one of the runs for a class whose images cannot be read here."""
        for id_ in names:
            target = exemplar_path(self.folder.root, id_)
            for part in self.parts if not target.exists() else ():
                with suppress(FileNotFoundError):
                    target.parent.mkdir(exist_ok=True)
                    _link(exemplar_path(part.folder.root, id_), target)
                    break


class _Paths(dict[str, str]):
    """Key of an image -> its file, below the first of the runs' folders of images that has it."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._roots = list(dict.fromkeys(part.record.images_root or "" for part in parts))

    def __missing__(self, key: str) -> str:
        paths = [os.path.join(root, *key.split("/")) for root in self._roots]
        return next(filter(os.path.exists, paths), paths[0])


def _link(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the file system has none."""
    if source.is_symlink():  # not what a run writes: the link's aim may be anywhere
        raise UsageError(f"{source} is a link, which no run of this command makes; remove it")
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        with atomic(target) as partial:
            shutil.copyfile(source, partial)


def _summed(documents: Iterable[Mapping[str, object]]) -> dict[str, float]:
    """Return the sum of every number; what is true in one is true."""
    total: dict[str, float] = {}
    for document in documents:
        for name, value in document.items():
            if isinstance(value, bool):
                total[name] = total.get(name, False) or value
            elif isinstance(value, (int, float)):
                total[name] = round(total.get(name, 0) + value, 3)
    return total


def _left_out(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what was left out: once where all runs have listed the same place."""
    if all(document == found[0] for document in found):
        return found[0]
    extensions = _summed(document.get("extensions", {}) for document in found)
    examples = [path for document in found for path in document.get("examples", [])]
    folders = sorted({path for document in found for path in document.get("folders", [])})
    return {"extensions": extensions, "examples": examples[:5], "folders": folders}
