"""The folder of a run: settings, journal, masks; refused, resumed or restarted, never overwritten."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ..common.files import is_partial, remove_empty, remove_inside, remove_partials, write_json
from ..common.locks import Busy, FileLock
from ..errors import UsageError
from ..images.listing import ImageItem
from ..masks.files import is_whole
from .cleaning import IMAGES, JOURNAL, LOCK, TOKENS, refuse_links, remove_run_files, remove_work, run_files
from .given import remove_given
from .images import check_resumable, read_list, write_list
from .record import RunDocument
from .replacement import NEXT, discard_next, finish_exchange, is_exchange_begun
from .samples import SampleRow, read_journal, read_samples, write_samples

__all__ = ["RunDirectory"]

LOCK_WAIT_S = 0.3


class RunDirectory:
    """Files of one run below ``root``.

    These are masks/, confidence/, exemplars/, model/, tokens/, run.json, samples.csv, classes.json,
    contact_sheet.png, dendrogram.png where classes can be compared, eigenvalues.png where K was found.

    While the run is not complete, ``.work`` holds the list of its images, a journal (one JSON line a finished
    image) and the arrays that methods keep; they are removed at the end. A run that replaces a finished one
    is written to ``.work/next`` first, see :mod:`fiftyone_plugin.runs.replacement`. ``run_id`` and
    ``items``, the images, are known once the folder is open.
    """

    def __init__(self, root: Path, replaces: RunDirectory | None = None) -> None:
        self.root = root
        self.masks = root / "masks"
        self.confidence = root / "confidence"
        self.exemplars = root / "exemplars"
        self.model = root / "model"
        self.work = root / ".work"
        self.run_id = ""
        self.items: list[ImageItem] = []
        self._replaces = replaces
        self._journal = self.work / JOURNAL
        self._images = self.work / IMAGES
        self._lock: FileLock | None = None
        self._made_root = False

    @property
    def final_root(self) -> Path:
        """Folder where the run lies once it is finished."""
        return self._replaces.root if self._replaces is not None else self.root

    # ------------------------------------------------------------------ opening

    def reserve(self, *, resume: bool, restart: bool) -> None:
        """Take the folder before anything costly is done; changes no file of an earlier run.

        What a kill has left half done is finished or removed.

        Raises:
            UsageError: the folder holds another run than an unfinished one to ``resume`` or any one to
                ``restart``, or other files where masks would go, or links, or is in use.
        """
        if resume and restart:
            raise UsageError("--resume and --overwrite exclude each other")
        refuse_links(self.root)
        self._make_root()
        self._take_lock()
        try:
            self._remove_partials()
            finish_exchange(self, self._next())
            previous = self.read_run()
            if previous is None:
                self._refuse_foreign_files()
                return
            if previous.is_complete:
                remove_work(self.root)
            if not (resume or restart):
                self._refuse_run(previous)
        except OSError as error:
            self.close()
            raise UsageError(f"cannot write to {self.root}: {error.strerror or error}") from error
        except BaseException:
            self.close()
            raise

    def open(
        self, settings: dict[str, object], *, resume: bool, restart: bool, items: Sequence[ImageItem] = ()
    ) -> RunDirectory:
        """Begin a run with these settings, or go on with it; reserves the folder if that was not done.

        The settings are all that the masks depend on (JSON-serialisable); the images are compared with those
        of the run to go on with. ``resume`` goes on with an unfinished run of the same settings, or starts if
        there is none; a finished run of the same settings and images stays as it is. ``restart`` removes what
        an earlier run wrote (and nothing else), then starts; a finished run is removed only when the new one
        is finished too.

        Returns:
            The folder to write to: this one, or one aside where a finished run is to be replaced.

        Raises:
            UsageError: as :meth:`reserve`, or the settings or images differ from those of the run to go on
                with.
        """
        if self._lock is None:
            self.reserve(resume=resume, restart=restart)
        try:
            previous, aside = self.read_run(), self._next()
            if previous is None:
                return self._begin(settings, items)
            if restart:
                self._refuse_masks_of_others(items)
                if previous.is_complete:
                    discard_next(aside)
                    return aside._begin(settings, items)
                self.remove_outputs()
                return self._begin(settings, items)
            if previous.is_complete and (replacing := aside.read_run()) is not None:
                return aside._go_on(replacing, settings, items)
            return self._go_on(previous, settings, items)
        except BaseException:
            self.close()
            raise

    def _begin(self, settings: dict[str, object], items: Sequence[ImageItem]) -> RunDirectory:
        self.run_id, self.items = uuid.uuid4().hex, list(items)
        self.work.mkdir(parents=True, exist_ok=True)
        remove_work(self.root)
        if items:
            write_list(self._images, self.items)
        self.write_run(RunDocument(settings, run_id=self.run_id))
        return self

    def _go_on(
        self, previous: RunDocument, settings: dict[str, object], items: Sequence[ImageItem]
    ) -> RunDirectory:
        self.run_id = previous.run_id or uuid.uuid4().hex
        self.work.mkdir(parents=True, exist_ok=True)
        self.items = check_resumable(
            self.final_root, previous, settings, items, read_list(self._images), self.samples_csv
        )
        return self

    def _next(self) -> RunDirectory:
        return RunDirectory(self.work / NEXT, replaces=self)

    def _make_root(self) -> None:
        try:
            self._made_root = not os.path.lexists(self.root)
            self.work.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"cannot write to {self.root}: {reason}") from error
        if self.work.is_symlink():
            raise UsageError(f"{self.work} is a link, which no run of this command makes; remove it")

    def _remove_partials(self) -> None:
        """Remove what a killed process was writing; the lock is held, so nobody is writing now."""
        for folder in (self.masks, self.confidence, self.exemplars, self.model, self.work):
            remove_partials(folder)
        for path in self.root.iterdir():
            if is_partial(path.name):
                path.unlink(missing_ok=True)

    def _refuse_foreign_files(self) -> None:
        folders = (self.masks, self.confidence, self.exemplars)
        for path in (*run_files(self.root), *folders):
            if path.exists() and not (path in folders and path.is_dir() and not any(path.iterdir())):
                raise UsageError(f"{path} was not written by a run of this command; choose another --out")

    def _refuse_masks_of_others(self, items: Sequence[ImageItem]) -> None:
        """Refuse to replace a run where that would overwrite a file that it has not written."""
        known = {row.mask for row in self._recorded()}
        for item in items:
            path = self.masks / item.mask_name
            if item.mask_name not in known and path.is_file():
                raise UsageError(f"{path} was not written by a run of this command; choose another --out")

    def _refuse_run(self, previous: RunDocument) -> None:
        complete = previous.is_complete
        state = "a finished run" if complete else "an unfinished run"
        advice = "" if complete else "--resume to go on with it, "
        if complete and self._next().read_run() is not None:
            state += " and an unfinished one that is to replace it"
            advice = "--resume to go on with that, "
        raise UsageError(
            f"{self.final_root} holds {state}; use {advice}--overwrite to replace it, or another --out"
        )

    def _take_lock(self) -> None:
        lock = FileLock(self.work / LOCK)
        try:
            # not at once: somebody may be asking at this moment whether the lock is held
            lock.acquire(LOCK_WAIT_S)
        except Busy as error:
            raise UsageError(
                f"another process is writing to {self.root}; wait for it or choose another --out"
            ) from error
        except OSError as error:
            self._remove_if_made()
            raise UsageError(f"cannot write to {self.root}: {error.strerror or error}") from error
        self._lock = lock

    def close(self) -> None:
        """Give the folder free; of a run that never started, what was made for it is removed."""
        if self._replaces is not None:
            self._replaces.close()
            return
        if self._lock is None:
            return
        with suppress(OSError):
            # the lock's file goes while the lock is held, see FileLock
            self._lock.release(remove=all(path.name == LOCK for path in self.work.iterdir()))
        self._lock.release()
        self._lock = None
        self._remove_if_made()

    def _remove_if_made(self) -> None:
        with suppress(OSError):  # another process has just taken it, or a person keeps something there
            self.work.rmdir()
            if self._made_root:
                self.root.rmdir()

    def remove_outputs(self) -> None:
        """Remove the files that a run wrote here, and folders that this leaves empty; nothing else.

        Raises:
            UsageError: the table that lists the files cannot be read; nothing was removed.
        """
        remove_run_files(self.root, self._recorded())

    def remove_if_empty(self) -> None:
        """Remove the folder if nothing is left in it but this class's own working files."""
        remove_work(self.root)
        remove_given(self.root)
        discard_next(self._next())
        if not self.work.is_symlink():
            remove_inside(self.root, f"{self.work.name}/{LOCK}")
        remove_empty(self.work)
        with suppress(OSError):  # something is left, or it was never there
            self.root.rmdir()

    # ------------------------------------------------------------------ reading and writing

    @property
    def samples_csv(self) -> Path:
        """Path of ``samples.csv``."""
        return self.root / "samples.csv"

    def read_run(self) -> RunDocument | None:
        """Return ``run.json``, checked, or ``None`` where there is none.

        Raises:
            UsageError: it cannot be read, or is not the record of a run.
        """
        self._heal()
        path = self.root / "run.json"
        return RunDocument.read(path) if os.path.lexists(path) else None

    def _heal(self) -> None:
        """Finish an exchange that a kill has interrupted, unless somebody is at it."""
        if self._lock is not None or self._replaces is not None or not is_exchange_begun(self.work):
            return
        lock = FileLock(self.work / LOCK)
        with suppress(OSError, Busy):
            lock.acquire(LOCK_WAIT_S)
            self._lock = lock
            try:
                finish_exchange(self, self._next())
            finally:
                self.close()

    def write_run(self, document: RunDocument) -> None:
        """Write ``run.json``, whole or not at all."""
        document.write(self.root / "run.json")

    def write_classes(self, names: dict[int, str]) -> None:
        """Write ``classes.json``: class id -> name."""
        write_json(self.root / "classes.json", {str(k): v for k, v in names.items()}, sort_keys=False)

    def finished(self) -> Iterator[SampleRow]:
        """Yield the rows whose mask is whole: the journal's, or the table's where a run is complete."""
        for row in self._recorded():
            if row.mask and row.status == "labelled" and self.has_mask(row.mask):
                yield row

    def fetch_finished(self) -> None:
        """Fetch the records of a run that is only read; on the disk they are there."""

    def has_mask(self, name: str) -> bool:
        """Tell whether a mask is there, whole."""
        return is_whole(self.masks / name)

    def mask_file(self, name: str, folder: str = "masks") -> Path:
        """Return where a mask, or its map of confidence, can be read."""
        return self.root / folder / name

    def forget(self, name: str) -> None:
        """Take note that a mask and its map of confidence are not read any more."""

    def stored(self, name: str) -> None:
        """Take note that a mask and its map of confidence are written."""

    def checkpoint(self) -> None:
        """Make what is done safe for a process that goes on; on the disk it is as it stands."""

    def _recorded(self) -> Iterator[SampleRow]:
        """Yield the rows of the table of a complete run, then those of the journal."""
        if os.path.lexists(self.samples_csv):
            yield from read_samples(self.samples_csv)
        yield from read_journal(self._journal)

    def append(self, rows: Iterable[SampleRow]) -> None:
        """Add rows to the journal; call it before the masks are written, so that none goes unrecorded."""
        with self._journal.open("a", encoding="utf-8") as file:
            for row in rows:
                # the line break comes first: it ends a line that a crash has cut short
                file.write("\n" + json.dumps(vars(row)))

    def announce(self, items: Iterable[ImageItem]) -> None:
        """Note which masks others may write from now on, before their rows are known."""
        # the stamp is that of no file, so that versions which do not look at the status label the image again
        self.append(
            SampleRow(item.key, item.mask_name, "skipped", error="not finished", stamp="none")
            for item in items
        )

    def write_samples(self, rows: Iterable[SampleRow]) -> None:
        """Write ``samples.csv``, a row an image."""
        write_samples(self.samples_csv, rows)

    def keep_tokens(self, name: str) -> None:
        """Keep what a fit has left of its images under this name, for other numbers of classes."""
        kept = self.work / "memo" / name
        for path in kept.rglob("*.npz"):
            target = self.root / TOKENS / name / path.relative_to(kept)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)

    def remove_unlisted(self, rows: Iterable[SampleRow]) -> None:
        """Remove masks that the journal knows and ``rows`` do not, such as those of images that are gone."""
        kept = {row.mask for row in rows}
        for row in self._recorded():
            if row.mask and row.mask not in kept:
                for folder in (self.masks, self.confidence):
                    remove_inside(folder, row.mask)

    def finish(self) -> None:
        """Remove the working files of a complete run, and put it in the place of the one that it replaces."""
        remove_work(self.root)
        if self._replaces is not None:
            finish_exchange(self._replaces, self)
        self.close()
