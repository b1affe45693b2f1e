"""A run whose folder is in a store: worked at in a local folder of bounded size, uploaded as it grows.

Masks go to the store as they are finished, and from the local folder; the journal goes there in pieces, and
the model once it is fitted, so that ``resume`` works from the store, on any machine. All other records go at
the end, ``run.json`` last: it tells that the others are there. An object appears whole or not at all; a
folder of them is not exchanged in one step, so a run that replaces another takes its place object by object.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ..common.files import atomic
from ..common.remote import (
    READERS,
    StoreError,
    exists,
    folder_of,
    join_url,
    listing,
    read_object,
    remove_objects,
    url_of,
    write_object,
)
from ..errors import ImageReadError, PseudoMaskError, UsageError
from ..images.listing import ImageItem
from .cleaning import JOURNAL, MODEL, TOKENS
from .folder import RunDirectory
from .record import RunDocument
from .samples import SampleRow, iterate_samples

__all__ = ["SpooledDirectory", "fetch_model", "open_run"]

CHECKPOINT_ROWS = 256
CHECKPOINT_S = 30.0
PIECE = "journal-"  # of the journal, in .work of the store
RECORD, TABLE = "run.json", "samples.csv"
_MODELS: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


def open_run(out: Path) -> RunDirectory:
    """Return the folder of a run, in a store or on the disk."""
    url = url_of(out)
    return RunDirectory(out) if url is None else SpooledDirectory(url)


def fetch_model(folder: Path) -> Path:
    """Return the folder of a fitted model on the disk, fetched for this process where it is in a store.

    Raises:
        UsageError: there is none.
    """
    url = url_of(folder)
    if url is None:
        return folder
    _MODELS.append(tempfile.TemporaryDirectory(prefix="pseudomask-model-"))
    here = Path(_MODELS[-1].name) / "model"
    here.mkdir()
    try:
        for name in MODEL:
            (here / name).write_bytes(read_object(join_url(url, name)))
    except StoreError as error:
        raise UsageError(f"{url} is not the model folder of a run ({error})") from None
    return here


class SpooledDirectory(RunDirectory):
    """The folder of a run in a store; see the module and :class:`RunDirectory`."""

    def __init__(self, url: str) -> None:
        self._spool = tempfile.TemporaryDirectory(prefix="pseudomask-spool-")
        super().__init__(Path(self._spool.name) / "run")
        self.url = url.rstrip("/")
        self._there: set[str] = set()
        self._pending: list[SampleRow] = []
        self._piece_lock = threading.Lock()
        self._last_piece = time.monotonic()
        self._model_is_there = False
        self._writing = False

    @property
    def final_root(self) -> Path:
        """Address of the run."""
        return folder_of(self.url)

    # ------------------------------------------------------------------ opening

    def reserve(self, *, resume: bool, restart: bool) -> None:
        """Fetch what an earlier run has left that is needed to refuse it or to go on with it.

        Raises:
            UsageError: as :meth:`RunDirectory.reserve`; who else is at work here is noticed later.
            StoreError: the store does not let us.
        """
        try:
            self._fetch_records(resume=resume, restart=restart)
            super().reserve(resume=resume, restart=restart)
        except BaseException:
            self._spool.cleanup()
            raise

    def _fetch_records(self, *, resume: bool, restart: bool) -> None:
        if not self._pull(RECORD):
            if next(iter(listing(self._at("masks"))), None) is not None:
                raise UsageError(
                    f"{self._at('masks')} was not written by a run of this command; choose another --out"
                )
            return
        record = RunDocument.read(self.root / RECORD)
        if restart:
            (self.root / RECORD).unlink()
            return
        if record.is_complete:
            for name in (TABLE, "classes.json"):
                self._pull(name)
        elif resume:
            self._fetch_unfinished()
        if resume:
            self._there = set(listing(self._at("masks")))

    def _fetch_unfinished(self) -> None:
        for name in (".work/images.json", *(f"model/{name}" for name in MODEL)):
            self._pull(name)
        self._model_is_there = (self.model / MODEL[-1]).is_file()
        pieces = [name for name in listing(self._at(".work")) if name.startswith(PIECE)]
        self.work.mkdir(parents=True, exist_ok=True)
        with (self.work / JOURNAL).open("wb") as file:
            for name in pieces:
                file.write(read_object(self._at(f".work/{name}")))

    def _begin(self, settings: dict[str, object], items: Sequence[ImageItem]) -> RunDirectory:
        super()._begin(settings, items)
        self._writing = True
        # before the new record: what is left of an earlier run must not be taken for this one's
        remove_objects([self._at(f"model/{MODEL[-1]}"), *self._work_urls()])
        if items:
            self._push(".work/images.json")
        self._push(RECORD)
        return self

    def _go_on(
        self, previous: RunDocument, settings: dict[str, object], items: Sequence[ImageItem]
    ) -> RunDirectory:
        super()._go_on(previous, settings, items)
        self._writing = not previous.is_complete
        return self

    def close(self) -> None:
        """Upload what is not recorded yet of a run that stops here, and remove the local folder."""
        if self._writing:
            with suppress(PseudoMaskError):
                self.checkpoint()
        self._writing = False
        super().close()
        self._spool.cleanup()

    # ------------------------------------------------------------------ while it runs

    def has_mask(self, name: str) -> bool:
        """Tell whether a mask is in the store."""
        return name in self._there

    def fetch_finished(self) -> None:
        """Fetch the records of a run that is only read.

        Raises:
            StoreError: the store does not let us.
        """
        for name in (RECORD, TABLE, "classes.json", *(f"model/{name}" for name in MODEL)):
            self._pull(name)

    def forget(self, name: str) -> None:
        """Remove the local copies of a mask and its map of confidence."""
        for folder in ("masks", "confidence"):
            (self.root / folder / name).unlink(missing_ok=True)

    def mask_file(self, name: str, folder: str = "masks") -> Path:
        """Return a local copy of a mask, or of its map of confidence.

        Raises:
            ImageReadError: it cannot be fetched.
        """
        path, url = self.root / folder / name, self._at(f"{folder}/{name}")
        if not path.is_file():
            try:
                data = read_object(url)
            except StoreError as error:
                raise ImageReadError(url, error.reason) from None
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as partial:
                partial.write_bytes(data)
        return path

    def append(self, rows: Iterable[SampleRow]) -> None:
        """Add rows to the journal, and a piece of it to the store from time to time."""
        rows = list(rows)
        super().append(rows)
        with self._piece_lock:
            self._pending += rows
            late = time.monotonic() - self._last_piece > CHECKPOINT_S
            due = late or len(self._pending) >= CHECKPOINT_ROWS
        if due:
            self.checkpoint()

    def stored(self, name: str) -> None:
        """Move a mask and its map of confidence to the store."""
        for folder in ("confidence", "masks"):
            path = self.root / folder / name
            if folder == "masks" or path.exists():  # runs of earlier versions have no map
                self._push(f"{folder}/{name}")
                path.unlink()
        self._there.add(name)

    def checkpoint(self) -> None:
        """Upload what another process needs to go on from here.

        Raises:
            PseudoMaskError: another run has begun at this address.
            StoreError: the store does not let us.
        """
        self._refuse_others()
        if not self._model_is_there and (self.model / MODEL[-1]).is_file():
            for name in MODEL:  # the one that tells that it is whole comes last
                self._push(f"model/{name}")
            self._model_is_there = True
        with self._piece_lock:
            rows, self._pending, self._last_piece = self._pending, [], time.monotonic()
        if rows:
            lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
            name = f".work/{PIECE}{time.time_ns():020d}-{secrets.token_hex(4)}.jsonl"
            write_object(self._at(name), lines.encode())

    def _refuse_others(self) -> None:
        try:
            theirs = json.loads(read_object(self._at(RECORD)))["run_id"]
        except (StoreError, ValueError, KeyError, TypeError):
            theirs = None
        if theirs != self.run_id:
            self._writing = False
            raise PseudoMaskError(
                f"somebody else has begun a run in {self.url}, or removed this one; choose another --out"
            )

    # ------------------------------------------------------------------ the end

    def remove_unlisted(self, rows: Iterable[SampleRow]) -> None:
        """Remove masks from the store that this run, or one that it replaces, knows and ``rows`` do not."""
        kept = {row.mask for row in rows}
        stale = {row.mask for row in self._recorded() if row.mask}
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / TABLE
            with suppress(StoreError, UsageError):
                table.write_bytes(read_object(self._at(TABLE)))
                stale |= {row.mask for row in iterate_samples(table) if row.mask}
        remove_objects(
            self._at(f"{folder}/{name}")
            for name in sorted(stale - kept)
            for folder in ("masks", "confidence")
        )

    def finish(self) -> None:
        """Upload the records, remove what was for going on, and the local folder."""
        if self._writing:
            self._refuse_others()
            names = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
            apart = (".work", "masks", "confidence")
            own = sorted({name.as_posix() for name in names if name.parts[0] not in apart} - {RECORD})
            with ThreadPoolExecutor(READERS, thread_name_prefix="upload") as pool:
                for _ in pool.map(self._push, own):
                    pass
            for folder in ("exemplars", TOKENS):
                old = {f"{folder}/{name}" for name in listing(self._at(folder))} - set(own)
                remove_objects(map(self._at, sorted(old)))
            self._push(RECORD)
            self._writing = False
            remove_objects(self._work_urls())
        super().finish()

    # ------------------------------------------------------------------ between here and there

    def _at(self, name: str) -> str:
        return join_url(self.url, name)

    def _work_urls(self) -> list[str]:
        return [self._at(f".work/{name}") for name in listing(self._at(".work"))]

    def _push(self, name: str) -> None:
        write_object(self._at(name), (self.root / name).read_bytes())

    def _pull(self, name: str) -> bool:
        """Fetch a file of the run; returns whether there is one."""
        if not exists(self._at(name)):
            return False
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(read_object(self._at(name)))
        return True
