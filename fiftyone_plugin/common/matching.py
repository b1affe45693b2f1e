r"""The one matching of names to images: which sample does ``..\train\0001.png`` of another tool mean?

Names come from anywhere: absolute paths of another machine, paths relative to a folder nobody knows, with the
separators and drives of Windows, in composed or decomposed Unicode, in another case. In this order:

1. the absolute path, as it is written, then without ``..``, ``//`` and forms of Unicode, then with linked
   folders resolved;
2. the longest common tail of folders and file name, if one image alone has it. Extensions count where both
   have one; a name without (a mask's ``train/0001``) stands for any, an image without is found by any;
3. the same without regard to case, where 1 and 2 find nothing.

Several images with the same tail are no match: the name is refused with the list of them. One way leads out
of that: where all names together are paths below the folder that holds all images, and below no other, they
are just that. Two names never share an image: the one with more in common with its path has it.
"""

from __future__ import annotations

import os
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import Generic, TypeVar

__all__ = ["Matches", "PathIndex", "match_names", "normalise", "shared_depth", "split_path"]

T = TypeVar("T", bound=Hashable)

LISTED = 5  # candidates that an error names
EXTENSIONS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})  # that tools add
ROOTS = 64  # folders that are tried as the one that all names lie below
_SEPARATORS = re.compile(r"[\\/]+")
_DRIVE = re.compile(r"([A-Za-z]:)(?=[\\/])")
_EXTENDED = re.compile(r"[\\/]{2}\?[\\/](?:UNC(?=[\\/]))?")  # \\?\C:\..., \\?\UNC\server\share\...
_END = "\0"  # follows every part in a reversed path; no name of a file holds it

Rank = tuple[bool, bool, int, bool]


def normalise(text: str) -> str:
    """Return ``text`` in composed Unicode (NFC): macOS writes names decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def split_path(path: str) -> tuple[str, tuple[str, ...]]:
    r"""Split a path of any system into what makes it absolute and its parts.

    The first is ``"/"`` or a drive like ``"c:"``, ``""`` for relative paths; parts are in composed Unicode.
    ``.`` and empty parts are dropped; ``..`` takes back the part before it, if there is one.
    """
    text = _EXTENDED.sub("", normalise(path), count=1) if path[:2] in ("//", "\\\\") else normalise(path)
    drive = _DRIVE.match(text)
    anchor = drive[1].lower() if drive else "/" if text[:1] in ("/", "\\") else ""
    parts: list[str] = []
    for part in _SEPARATORS.split(text[2:] if drive else text):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return anchor, tuple(parts)


def shared_depth(paths: Collection[tuple[str, ...]]) -> int:
    """Return how many first parts all paths share, the last part of each, a file's name, left out."""
    # what the first and the last share, all that lie between them share
    return _alike(min(paths)[:-1], max(paths)[:-1]) if paths else 0


def _alike(a: Iterable[str], b: Iterable[str]) -> int:
    """Return with how many equal parts two paths begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


@dataclass
class Matches(Generic[T]):
    """What :func:`match_names` found: name -> what its image stands for, or else why it has none."""

    found: dict[str, T] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Hit(Generic[T]):
    """One name's images: how good the match is (greater is better), and the entries that are equally good."""

    rank: Rank
    entries: list[int]
    total: int


class PathIndex(Generic[T]):
    """Paths that names are looked up in; a look-up takes a few binary searches, however many paths there are.

    Args:
        entries: paths and what they stand for, e.g. the id of a sample. Several paths may stand for the same.
        resolve: turns a folder's absolute path into the one without links; called only where an absolute name
            is not found as it is, once a folder. ``None``: links play no part.
        whole: names and paths must agree from the first part to the last; extensions are not looked at.
    """

    def __init__(
        self,
        entries: Iterable[tuple[str, T]],
        resolve: Callable[[str], str] | None = os.path.realpath,
        *,
        whole: bool = False,
    ) -> None:
        # sorted, so that what is found and listed does not depend on the order
        unique: dict[tuple[str, T], None] = dict.fromkeys(entries)
        ordered = sorted(unique, key=lambda entry: entry[0])
        self.paths = [path for path, _ in ordered]
        self.targets = [target for _, target in ordered]
        self.whole = whole
        self._most = max(Counter(self.targets).values(), default=1)
        self._resolve = lru_cache(maxsize=None)(resolve) if resolve is not None else None
        self._made: dict[bool, tuple[_Tails, _Tails]] = {}

    # ------------------------------------------------------------------ look-up

    def find(self, name: str) -> _Hit[T] | None:
        """Return the best match of a name, of one image or of several that match equally well."""
        anchor, parts = split_path(name)
        if not parts:
            return None
        if anchor and (entries := self._absolute_entries(name, anchor, parts)):
            return _Hit((True, True, len(parts), True), entries, len(entries))
        return self._tail(name, parts, folded=False) or self._tail(name, parts, folded=True)

    def describe(self, hit: _Hit[T], what: str) -> str:
        """Count and list what a match may be: the targets where they are text, else their paths."""
        targets = {self.targets[i]: self.paths[i] for i in hit.entries}
        total = len(targets) if hit.total == len(hit.entries) else hit.total
        named = [target if isinstance(target, str) else path for target, path in targets.items()]
        more = f" and {total - LISTED} more" if total > LISTED else ""
        return f"any of {total} {what}s: {', '.join(sorted(named)[:LISTED])}{more}"

    def target(self, hit: _Hit[T]) -> T | None:
        """Return what the match stands for, ``None`` if that is not one thing."""
        targets = {self.targets[i] for i in hit.entries}
        return targets.pop() if len(targets) == 1 and hit.total == len(hit.entries) else None

    def at(self, parts: tuple[str, ...]) -> T | None:
        """Return the one thing that the path with these parts, or else without its extension, stands for."""
        targets = {self.targets[i] for i in self._whole.get(parts) or self._bare.get(parts, [])}
        return targets.pop() if len(targets) == 1 else None

    def _absolute_entries(self, name: str, anchor: str, parts: tuple[str, ...]) -> list[int]:
        if name in self._raw:
            return self._raw[name]
        found = self._normalised.get((anchor, parts), [])
        if found or self._resolve is None or not os.path.isabs(name):
            return found
        return self._resolved.get(self._without_links(name), [])

    def _tail(self, name: str, parts: tuple[str, ...], *, folded: bool) -> _Hit[T] | None:
        full, bare = self._tails(folded)
        wanted = _fold(parts) if folded else parts
        with_extension, without = full.longest(wanted), 0 if self.whole else bare.longest(wanted)
        tails, depth = (full, with_extension) if with_extension >= without else (bare, without)
        if depth == 0 and not self.whole and os.path.splitext(wanted[-1])[1].lower() in EXTENSIONS:
            wanted = _without_extension(wanted)  # of an image whose own name has none
            depth = full.longest(wanted)
        if depth == 0:
            return None
        low, high = tails.span(wanted, depth)
        # more entries than one image has cannot all stand for it; a few are enough to tell and to list
        shown = min(high - low, max(LISTED, self._most) + 1)
        entries = sorted(tails.order[i] for i in range(low, low + shown))
        rank = (False, not folded, depth, tails is full)
        several = 1 < high - low == shown
        exact = self._as_written(name, entries, depth) if several and not folded and tails is full else []
        return _Hit(rank, exact or entries, len(exact) or high - low)

    def _as_written(self, name: str, entries: list[int], depth: int) -> list[int]:
        """Return the entries whose tail is the name's letter by letter, where Unicode forms make several."""
        wanted = _SEPARATORS.split(name)[-depth:]
        return [i for i in entries if _SEPARATORS.split(self.paths[i])[-depth:] == wanted]

    # ------------------------------------------------------------------ tables, made when first needed

    @cached_property
    def parts(self) -> list[tuple[str, ...]]:
        """Parts of every path, composed."""
        return [split_path(path)[1] for path in self.paths]

    @cached_property
    def _whole(self) -> dict[tuple[str, ...], list[int]]:
        return _grouped(self.parts)

    @cached_property
    def _bare(self) -> dict[tuple[str, ...], list[int]]:
        return _grouped(_without_extension(parts) for parts in self.parts)

    @cached_property
    def _raw(self) -> dict[str, list[int]]:
        return _grouped(self.paths)

    @cached_property
    def _normalised(self) -> dict[tuple[str, tuple[str, ...]], list[int]]:
        return _grouped(split_path(path) for path in self.paths)

    @cached_property
    def _resolved(self) -> dict[str, list[int]]:
        return _grouped(self._without_links(path) for path in self.paths)

    def _without_links(self, path: str) -> str:
        assert self._resolve is not None
        folder, name = os.path.split(path)
        return os.path.join(self._resolve(folder), normalise(name))

    def _tails(self, folded: bool) -> tuple[_Tails, _Tails]:
        """Return the tails with and without extensions."""
        if folded not in self._made:
            parts = [_fold(entry) for entry in self.parts] if folded else self.parts
            bare = [] if self.whole else [_without_extension(entry) for entry in parts]
            self._made[folded] = _Tails(parts, self.whole), _Tails(bare, self.whole)
        return self._made[folded]


class _Tails:
    """Paths sorted by their parts from the last to the first, so that equal tails lie side by side."""

    def __init__(self, parts: list[tuple[str, ...]], whole: bool) -> None:
        keys = [_reversed(entry) for entry in parts]
        self.whole = whole
        self.order = sorted(range(len(keys)), key=keys.__getitem__)
        self.keys = [keys[i] for i in self.order]

    def longest(self, parts: tuple[str, ...]) -> int:
        """Return how many last parts the best of the paths shares."""
        key = _reversed(parts)
        at = bisect_left(self.keys, key)
        if self.whole:
            return len(parts) if self.keys[at : at + 1] == [key] else 0
        # in sorted order the longest common beginning is that of a neighbour
        near = [self.keys[i].split(_END)[:-1] for i in (at - 1, at) if 0 <= i < len(self.keys)]
        return max((_alike(parts[::-1], other) for other in near), default=0)

    def span(self, parts: tuple[str, ...], depth: int) -> tuple[int, int]:
        """Return where the paths that share ``depth`` last parts lie."""
        prefix = _reversed(parts[len(parts) - depth :])
        if self.whole:
            return bisect_left(self.keys, prefix), bisect_right(self.keys, prefix)
        # no character is less than _END: with the next one in its place, all that goes on there lies before
        return bisect_left(self.keys, prefix), bisect_left(self.keys, prefix[:-1] + "\1")


def _reversed(parts: tuple[str, ...]) -> str:
    return "".join(part + _END for part in reversed(parts))


def _without_extension(parts: tuple[str, ...]) -> tuple[str, ...]:
    return (*parts[:-1], os.path.splitext(parts[-1])[0]) if parts else parts


def _fold(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(normalise(part.casefold()) for part in parts)


def _grouped(keys: Iterable[T]) -> dict[T, list[int]]:
    found: defaultdict[T, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        found[key].append(index)
    return dict(found)


# ---------------------------------------------------------------------- all names at once


def match_names(
    names: Iterable[str],
    entries: Iterable[tuple[str, T]],
    *,
    resolve: Callable[[str], str] | None = os.path.realpath,
    whole: bool = False,
    what: str = "image",
) -> Matches[T]:
    """Match names to images, see the module; the order of names and entries plays no part.

    Args:
        names: names of images, or of masks without the extension of the mask's file.
        entries: paths of ALL images that a name might mean, also those that shall get nothing (the whole
            dataset, where a view is worked on), and what they stand for. An image may have several paths.
        resolve: see :class:`PathIndex`.
        whole: see :class:`PathIndex`.
        what: what a name stands for, in reasons, e.g. ``"image"``.
    """
    index = PathIndex(entries, resolve, whole=whole)
    hits = {name: index.find(name) for name in names}
    settled = {} if whole else _below_the_root(index, hits)
    matches: Matches[T] = Matches()
    claims: defaultdict[T, list[tuple[Rank, str]]] = defaultdict(list)
    for name, hit in hits.items():
        target = settled.get(name, index.target(hit) if hit is not None else None)
        if hit is None:
            matches.left[name] = f"no {what} of this name"
        elif target is None:
            matches.left[name] = f"may be {index.describe(hit, what)}"
        else:
            claims[target].append((hit.rank, name))
    for target, claimed in claims.items():
        _decide(target, claimed, matches, what)
    return matches


def _decide(target: T, claimed: list[tuple[Rank, str]], matches: Matches[T], what: str) -> None:
    """Give an image to the one name that has most in common with its path."""
    best = max(rank for rank, _ in claimed)
    winners = sorted(name for rank, name in claimed if rank == best)
    for rank, name in claimed:
        if winners == [name]:
            matches.found[name] = target
        elif rank == best:
            others = ", ".join([other for other in winners if other != name][:LISTED])
            matches.left[name] = f"means the same {what} as {others}"
        else:
            matches.left[name] = f"no {what} of this name: the nearest is that of {winners[0]}"


def _below_the_root(index: PathIndex[T], hits: dict[str, _Hit[T] | None]) -> dict[str, T]:
    """Settle what is ambiguous by itself if all names are paths below the folder of all images, and no other.

    An export names images so: ``a.jpg`` beside ``sub/a.jpg`` is the one that lies in that folder itself.
    """
    doubtful = [name for name, hit in hits.items() if hit is not None and index.target(hit) is None]
    if not doubtful or any(hit is None or hit.rank[0] for hit in hits.values()):
        return {}
    parts = {name: split_path(name)[1] for name in hits}
    first = parts[min(doubtful)]
    root = index.parts[0][: shared_depth(index.parts)]
    roots = {root}
    for tails in index._tails(False):
        low, high = tails.span(first, len(first))
        if high - low > ROOTS:
            return {}
        roots |= {index.parts[tails.order[i]][: -len(first)] for i in range(low, high)}
    holding = [base for base in roots if all(index.at(base + entry) is not None for entry in parts.values())]
    if holding != [root]:
        return {}
    found = {name: index.at(root + parts[name]) for name in doubtful}
    return {name: target for name, target in found.items() if target is not None}
