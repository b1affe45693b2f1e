"""Which images a run works on: from a folder, a glob, a text file, a file or a sequence to a sorted list."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import io
import os
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePath, PureWindowsPath
from typing import Any

from ..common.folders import files_below
from ..common.matching import shared_depth
from ..common.untrusted import read_text
from ..errors import UsageError
from .left_out import RECORDS, RUN_OUTPUTS, LeftOut, is_result_folder, is_run_folder

__all__ = [
    "ADVICE",
    "ONLY_IMAGES",
    "ImageItem",
    "ImageList",
    "ViewItem",
    "all_samples",
    "check_view",
    "is_empty",
    "labelled_slices",
    "list_images",
    "list_view",
]

PathLike = str | os.PathLike[str]
FIFTYONE_PREFIX = "fiftyone:"
LIST_SUFFIX = ".txt"
LIST = "a list of images, one path a line"
MAX_LIST_BYTES = 1 << 30
ROOT = "(root)"  # key of the root of a file system, should somebody name it as an image
LONGEST_NAME = 255  # bytes of a file name that the usual file systems take


@dataclass(frozen=True)
class ImageItem:
    """One image of a run.

    Attributes:
        key: relative POSIX path with extension, unique in the list, without ``..`` and never absolute.
        path: absolute path of the file.
        mask_name: relative POSIX path of the mask's PNG, unique in the list even where case does not count.
    """

    key: str
    path: str
    mask_name: str

    @property
    def root(self) -> str:
        """Folder that the key is relative to; empty where images lie on several drives."""
        root, separator, rest = PurePath(self.path).as_posix().rpartition(self.key)
        return root if separator and not rest else ""


class ImageList(list[ImageItem]):
    """The images of a run, and what was found beside them.

    Attributes:
        left_out: pictures that cannot be decoded here, and results of earlier runs.
        folder: the folder that was listed as a whole, ``None`` for every other kind of list.
    """

    def __init__(self, items: Iterable[ImageItem], left_out: LeftOut, folder: str | None) -> None:
        super().__init__(items)
        self.left_out = left_out
        self.folder = folder


def list_images(spec: PathLike | Sequence[PathLike]) -> ImageList:
    """List the images that ``spec`` names, sorted by key; the order of the file system plays no part.

    Args:
        spec: one of

            * a folder: all images below it. Hidden files and folders and files of other types are left out,
              and folders below it that hold a run, an export or an import of this package (of a run's folder
              itself, what the run wrote); linked folders are followed, each folder once;
            * a glob, where ``**`` stands for any number of folders: the images that match, results of earlier
              runs left out in the same way;
            * a ``.txt`` file with one path a line, relative to that file; blank lines and lines that begin
              with ``#`` do not count;
            * an image file;
            * a sequence of paths of image files.

            Files that a person named one by one are listed whatever their extension, also if they are
            missing: they fail as bad images when they are read.

    Returns:
        The images, each path once. Keys are relative to the folder, or to the deepest folder that holds all
        images. What looks like a picture but cannot be decoded is counted in ``left_out``.

    Raises:
        UsageError: no such path, no image found, a text file that cannot be read, or a ``fiftyone:`` name.
    """
    left_out, folder = LeftOut(), None
    if isinstance(spec, (str, os.PathLike)):
        text = os.path.expanduser(os.fsdecode(spec))
        if text.startswith(FIFTYONE_PREFIX):
            raise UsageError(
                f"{text} names a FiftyOne dataset; what can be listed: a folder, a glob, a .txt list, a file"
            )
        if os.path.isdir(text):
            folder = os.path.abspath(text)
            below = left_out.images_of(_walk(folder, left_out))
            found = {rel: os.path.join(folder, *rel.split("/")) for rel in below}
        else:
            found = _key_by_common_folder(_named_paths(text, left_out))
        origin = text
    else:
        found = _key_by_common_folder(os.path.expanduser(os.fsdecode(path)) for path in spec)
        origin = "the sequence of paths"
    if not found:
        reason = "; ".join(left_out.describe()) or (
            "nothing there has a known image extension (.jpg, .png, .webp, ...)"
        )
        raise UsageError(
            f"no images in {origin}: {reason}; check the path, or name the files in a .txt file, one path a "
            "line"
        )
    keys = sorted(found)
    items = (ImageItem(key, found[key], name) for key, name in zip(keys, _mask_names(keys), strict=True))
    return ImageList(items, left_out, folder)


def _named_paths(text: str, left_out: LeftOut) -> Iterable[str]:
    if os.path.exists(text):
        return _read_list(text) if text.lower().endswith(LIST_SUFFIX) else [text]
    if any(character in text for character in "*?["):
        return left_out.images_of(_glob(text, left_out))
    raise UsageError(f"no such file or folder: {text!r}; check the path (a glob may use *, ?, [..] and **)")


def _read_list(list_path: str) -> list[str]:
    text = read_text(list_path, what=LIST, max_bytes=MAX_LIST_BYTES)
    if "\0" in text:  # no path holds one, but every other byte of UTF-16 does
        raise UsageError(f"{list_path} is not {LIST}: not UTF-8 text")
    lines = [line.strip() for line in io.StringIO(text, newline=None)]
    folder = os.path.dirname(list_path)
    named = (line for line in lines if line and not line.startswith("#"))
    return [os.path.join(folder, os.path.expanduser(line)) for line in named]


def _walk(root: str, left_out: LeftOut) -> Iterator[str]:
    """Yield the files below a folder; folders that hold results of this package are noted and passed over."""

    def prune(relative: str, folder: str, names: Collection[str]) -> Collection[str] | None:
        if RECORDS.isdisjoint(names):
            return ()
        if relative and is_result_folder(folder):
            left_out.folders.append(relative)
            return None
        # somebody's pictures may lie beside what a run wrote, and this folder was named on purpose
        return RUN_OUTPUTS if is_run_folder(folder) else ()

    return files_below(root, prune)


def _glob(pattern: str, left_out: LeftOut) -> Iterator[str]:
    """Yield the files that match; unlike :func:`glob.glob`, ``**`` ends where links form loops."""
    parts = PurePath(pattern).parts
    if "**" not in parts:
        files = (path for path in glob.iglob(pattern) if not os.path.isdir(path))
        yield from _outside_results(files, parts, left_out)
        return
    split = parts.index("**")
    head, rest = os.path.join("", *parts[:split]), parts[split:]
    folders = sorted(glob.iglob(os.path.join(head, ""))) if head else [os.curdir]
    for folder in _outside_results(folders, parts, left_out):
        below = _walk(folder, left_out)
        yield from (os.path.join(folder, path) for path in below if _matches(path.split("/"), rest))


def _outside_results(paths: Iterable[str], pattern: Sequence[str], left_out: LeftOut) -> Iterator[str]:
    """Yield what lies in no folder of results, as far as the pattern does not name that folder itself."""
    fixed = len(list(takewhile(lambda part: not glob.has_magic(part), pattern)))
    results: dict[str, bool] = {}
    for path in paths:
        parts = PurePath(os.path.dirname(path)).parts
        for depth in range(fixed + 1, len(parts) + 1):
            folder = os.path.join(*parts[:depth])
            if folder not in results:
                results[folder] = is_result_folder(folder)
                left_out.folders += [folder] if results[folder] else []
            if results[folder]:
                break
        else:
            yield path


def _matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Match path components against pattern components; ``**`` stands for any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return bool(path)
        return any(_matches(path[i:], pattern[1:]) for i in range(len(path)))
    return bool(path) and fnmatch.fnmatch(path[0], pattern[0]) and _matches(path[1:], pattern[1:])


def _key_by_common_folder(paths: Iterable[str]) -> dict[str, str]:
    """Return key -> absolute path; a path named twice counts once."""
    unique: dict[str, str] = {}
    for path in paths:
        absolute = os.path.abspath(path)
        unique.setdefault(os.path.normcase(absolute), absolute)
    keys = _relative_keys([PurePath(path) for path in unique.values()])
    return dict(zip(keys, unique.values(), strict=True))


def _relative_keys(paths: Sequence[PurePath]) -> list[str]:
    """Return POSIX paths relative to the deepest folder that holds all of ``paths`` (absolute, normalised).

    Paths on several Windows drives or shares have no such folder: their keys begin with the drive's letter or
    the share's name.
    """
    if not paths:
        return []

    def same(part: str) -> str:
        return part.lower() if isinstance(paths[0], PureWindowsPath) else part

    common = shared_depth([tuple(map(same, path.parts)) for path in paths])
    keys = []
    for path in paths:
        anchor = [] if common else [path.anchor.replace("\\", "/").replace(":", "").strip("/")]
        parts = [*anchor, *path.parts[max(common, 1) :]]
        keys.append("/".join(parts) or ROOT)
    return keys


def _mask_names(keys: Sequence[str]) -> list[str]:
    """Name the mask of every key: ``a/b.jpg`` -> ``a/b.png``.

    Names are unique also on file systems that ignore case or normalise Unicode, and none is the name of a
    folder that another needs. Images whose names clash take ``key + ".png"``, and if that clashes too (keys
    that differ in case alone) a piece of the key's sha256 goes in between.
    """
    attempts = [0] * len(keys)
    while True:
        names = [_mask_name(key, attempt) for key, attempt in zip(keys, attempts, strict=True)]
        users: defaultdict[str, list[int]] = defaultdict(list)
        folders: set[str] = set()
        for index, name in enumerate(names):
            plain = _without_case(name)
            users[plain].append(index)
            while (plain := posixpath.dirname(plain)) and plain not in folders:
                folders.add(plain)
        clashing: list[int] = []
        for name, indices in users.items():
            if name in folders:
                clashing += indices
            elif len(indices) > 1:
                # who has taken the longer name already may keep it
                least = min(attempts[index] for index in indices)
                clashing += [index for index in indices if attempts[index] == least]
        if not clashing:
            return names
        for index in clashing:
            attempts[index] += 1


def _mask_name(key: str, attempt: int) -> str:
    if attempt == 0:
        return _short_enough(posixpath.splitext(key)[0], ".png", key)
    if attempt == 1:
        return _short_enough(key, ".png", key)
    return _short_enough(key, f".{_digest(key)[: 8 * (attempt - 1)]}.png", key)


def _short_enough(name: str, ending: str, key: str) -> str:
    """Return ``name + ending``; where its last part is longer than file names may be, it is cut.

    A piece of the key's sha256 then tells it from others that begin alike.
    """
    folder, stem = posixpath.split(name.replace("\0", "_"))  # nobody finds that image, and it has a row
    if len(_bytes(stem + ending)) > LONGEST_NAME:
        ending = f".{_digest(key)[:16]}{ending}"
        while len(_bytes(stem + ending)) > LONGEST_NAME:
            stem = stem[:-1]
    return posixpath.join(folder, stem + ending)


def _digest(key: str) -> str:
    return hashlib.sha256(_bytes(key)).hexdigest()


def _bytes(text: str) -> bytes:
    # names on the disk may hold bytes that are not UTF-8
    return text.encode("utf-8", "surrogatepass")


def _without_case(name: str) -> str:
    decomposed = unicodedata.normalize("NFD", name)
    return unicodedata.normalize("NFC", decomposed.casefold())


@dataclass(frozen=True)
class ViewItem:
    """One image file and the samples that show it.

    Attributes:
        item: the file, as the pipeline sees it.
        sample_ids: ids of the samples with this ``filepath``; usually one.
    """

    item: ImageItem
    sample_ids: tuple[str, ...]


def list_view(view: Any) -> list[ViewItem]:
    """List the image files of a dataset or view; paths with ``..`` count under their normal form.

    Raises:
        UsageError: the view is empty, or its samples are not plain images.
    """
    check_view(view)
    paths: dict[str, str] = {}
    samples = defaultdict(list)
    for filepath, sample_id in zip(*view.values(["filepath", "id"]), strict=True):
        path = os.path.abspath(filepath)
        paths.setdefault(os.path.normcase(path), path)
        samples[os.path.normcase(path)].append(sample_id)
    items = list_images(list(paths.values()))
    return [ViewItem(item, tuple(samples[os.path.normcase(item.path)])) for item in items]


ADVICE = {
    "group": "pick the images of a group slice first: view.select_group_slices(media_type='image')",
    "video": "sample frames to a dataset first: dataset.to_frames(sample_frames=True).clone()",
}

ONLY_IMAGES = "only images can be labelled"


def check_view(view: Any) -> None:
    """Check that a dataset or view holds plain images.

    Raises:
        UsageError: it is empty, or its samples are something else.
    """
    if getattr(view, "_is_generated", False):
        raise UsageError("this is a view of patches, frames or clips: open the view of the images themselves")
    if getattr(view, "_is_dynamic_groups", False):
        raise UsageError("this is a view of groups made by a field: open its images first, view.flatten()")
    if is_empty(view):
        raise UsageError("the view is empty: add images, or clear its filters")
    if view.media_type != "image":
        raise UsageError(
            f"samples are of type {view.media_type!r}: {ADVICE.get(view.media_type, ONLY_IMAGES)}"
        )


def is_empty(samples: Any) -> bool:
    """Return whether a dataset or view has no samples.

    ``len(dataset)`` is the database's estimate, which may be 0 after the database was killed.
    """
    return len(samples) == 0 and not samples.limit(1).values("id")


def all_samples(samples: Any) -> Any:
    """Return the samples of a dataset or view, of a grouped one those of every slice."""
    if getattr(samples, "_is_dynamic_groups", False):
        samples = samples.flatten()
    return samples.select_group_slices(_allow_mixed=True) if samples.media_type == "group" else samples


def labelled_slices(samples: Any, field: str) -> Any:
    """Return the samples of a dataset or view, of a grouped one those of the slices that show a field.

    Where no slice shows it, those of all slices.
    """
    everything = all_samples(samples)
    if everything is samples or not samples._dataset.has_sample_field(field):
        return everything
    group = samples._dataset.group_field
    slices = everything.exists(field).distinct(f"{group}.name") if group else []
    kinds = {samples._dataset.group_media_types.get(name) for name in slices}
    return samples.select_group_slices(sorted(slices)) if len(kinds) == 1 else everything
