"""Which array lies where: the SQLite index of one feature store."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["INDEX_NAME", "ArrayRow", "Index", "IndexFormatError"]

INDEX_NAME = "index.sqlite"
FORMAT = 1
BUSY_TIMEOUT_S = 60.0
DIGESTS_PER_QUERY = 400  # SQLite before 3.32 takes at most 999 parameters

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shards (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    bytes INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS arrays (
    digest TEXT NOT NULL,
    layer TEXT NOT NULL,
    shard INTEGER NOT NULL REFERENCES shards (id),
    number INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    dtype TEXT NOT NULL,
    shape TEXT NOT NULL,
    crc32 INTEGER NOT NULL,
    PRIMARY KEY (digest, layer)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS arrays_of_shard ON arrays (shard);
"""


class IndexFormatError(Exception):
    """The index was written by another version of this package."""


class ArrayRow(NamedTuple):
    """Where one array lies.

    Attributes:
        digest: sha256 of the image file.
        layer: layer name.
        number: position among the arrays of its shard.
        offset: first byte in the shard.
        dtype: numpy type string, little-endian.
        shape: dimensions.
        crc32: checksum of the bytes.
        shard: file name of the shard; empty until it is finished.
    """

    digest: str
    layer: str
    number: int
    offset: int
    dtype: str
    shape: tuple[int, ...]
    crc32: int
    shard: str = ""


class Index:
    """The tables ``shards`` and ``arrays``; threads share one connection, processes share the file (WAL).

    Raises:
        sqlite3.DatabaseError: the file is damaged; its subclass ``OperationalError``: it cannot be opened.
        IndexFormatError: the file is of another version.

    Args:
        path: the file.
        read_only: nothing is written, not even beside it: for a disk that cannot be written. What another
            process writes meanwhile may not be seen.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._lock = threading.RLock()
        name = f"{path.absolute().as_uri()}?immutable=1" if read_only else str(path)
        self._db = sqlite3.connect(
            name, BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=read_only
        )
        try:
            if read_only:
                self._check_version()
            else:
                self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        self._switch_to_wal()
        self._db.execute("PRAGMA synchronous=NORMAL")
        with self.transaction():
            self._check_version(empty=0)
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={FORMAT}")

    def _check_version(self, *, empty: int = FORMAT) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (empty, FORMAT):
            raise IndexFormatError(f"format {version}, this version reads {FORMAT}")

    def _switch_to_wal(self) -> None:
        # the switch needs the file for itself, and SQLite does not wait for that as it waits for other locks
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:  # noqa: PERF203 - rarely entered
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the write lock of the file, against threads and processes; all or nothing is written."""
        with self._lock:
            if self._db.in_transaction:  # left open by an interrupt just after BEGIN
                self._db.rollback()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.commit()
            except BaseException:
                self._db.rollback()
                raise

    def find(self, digest: str, layers: Sequence[str]) -> dict[str, ArrayRow]:
        """Return layer -> row, for those of ``layers`` that are stored."""
        with self._lock:
            rows = self._db.execute(
                "SELECT a.digest, a.layer, a.number, a.offset, a.dtype, a.shape, a.crc32, s.name "
                "FROM arrays a JOIN shards s ON s.id = a.shard "
                f"WHERE a.digest = ? AND a.layer IN ({_marks(layers)})",
                (digest, *layers),
            ).fetchall()
        return {
            layer: ArrayRow(digest, layer, number, offset, dtype, tuple(json.loads(shape)), crc32, shard)
            for digest, layer, number, offset, dtype, shape, crc32, shard in rows
        }

    def locate(self, digests: Sequence[str], layers: Sequence[str]) -> list[tuple[str, str]]:
        """Return (digest, shard name) once for every stored array asked for; any number of digests."""
        found: list[tuple[str, str]] = []
        for start in range(0, len(digests), DIGESTS_PER_QUERY):
            batch = digests[start : start + DIGESTS_PER_QUERY]
            with self._lock:
                found += self._db.execute(
                    "SELECT a.digest, s.name FROM arrays a JOIN shards s ON s.id = a.shard "
                    f"WHERE a.digest IN ({_marks(batch)}) AND a.layer IN ({_marks(layers)})",
                    (*batch, *layers),
                )
        return found

    def add_shard(self, name: str, size: int, rows: Iterable[ArrayRow]) -> int:
        """Record a shard, inside a :meth:`transaction`; arrays that are stored already keep their place.

        Returns:
            The number of arrays recorded.
        """
        shard = self._db.execute("INSERT INTO shards (name, bytes) VALUES (?, ?)", (name, size)).lastrowid
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO arrays (digest, layer, shard, number, offset, dtype, shape, crc32) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (r.digest, r.layer, shard, r.number, r.offset, r.dtype, json.dumps(r.shape), r.crc32)
                for r in rows
            ),
        )
        return self._db.total_changes - before

    def shards(self) -> list[tuple[str, int]]:
        """Return (name, bytes) of every shard."""
        with self._lock:
            return self._db.execute("SELECT name, bytes FROM shards ORDER BY id").fetchall()

    def drop_shard(self, name: str) -> int:
        """Forget a shard and its arrays, inside a :meth:`transaction`; return the number of arrays."""
        which = "(SELECT id FROM shards WHERE name = ?)"
        arrays = self._db.execute(f"DELETE FROM arrays WHERE shard IN {which}", (name,)).rowcount
        self._db.execute("DELETE FROM shards WHERE name = ?", (name,))
        return arrays

    def drop_array(self, row: ArrayRow) -> None:
        """Forget one array, where it still lies in that shard."""
        with self.transaction():
            self._db.execute(
                "DELETE FROM arrays WHERE digest = ? AND layer = ? "
                "AND shard = (SELECT id FROM shards WHERE name = ?)",
                (row.digest, row.layer, row.shard),
            )

    def count_images(self) -> int:
        """Return the number of images of which something is stored."""
        with self._lock:
            return int(self._db.execute("SELECT COUNT(DISTINCT digest) FROM arrays").fetchone()[0])

    def layers(self) -> list[str]:
        """Return the names of all layers stored, sorted."""
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT DISTINCT layer FROM arrays ORDER BY layer")]


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
