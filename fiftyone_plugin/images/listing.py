"""Which images a run works on: from a folder, a glob, a text file, a file or a sequence to a sorted list."""

from __future__ import annotations

import glob
import io
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import PurePath
from typing import TYPE_CHECKING

from ..common.folders import files_below
from ..common.remote import exists, stamp_all, url_of
from ..common.untrusted import read_text
from ..errors import UsageError, without_secrets
from .left_out import RECORDS, RUN_OUTPUTS, LeftOut, is_result_folder, is_run_folder
from .naming import keys_below, mask_names, place_of, relative_keys
from .reading import PathLike
from .shards import Shard
from .stores import find_in_store, glob_store, is_glob, is_one_image, matches

if TYPE_CHECKING:
    import fiftyone.core.collections as foc

__all__ = ["ADVICE", "ONLY_IMAGES", "ImageItem", "ImageList", "ViewItem", "all_samples", "check_view"]
__all__ += ["is_empty", "labelled_slices", "list_images", "list_view", "listed_view"]

FIFTYONE_PREFIX = "fiftyone:"
LIST_SUFFIX = ".txt"
LIST = "a list of images, one path a line"
MAX_LIST_BYTES = 1 << 30


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
        if url_of(self.path) is not None:
            return without_secrets(self.path).rsplit("/", self.key.count("/") + 1)[0] + "/"
        root, separator, rest = PurePath(self.path).as_posix().rpartition(self.key)
        return root if separator and not rest else ""


class ImageList(list[ImageItem]):
    """The images of a run, and what was found beside them.

    Attributes:
        left_out: pictures that cannot be decoded here, and results of earlier runs.
        folder: the folder that was listed as a whole, ``None`` for every other kind of list.
        shard: the part of the images that this list is, ``None`` for all of them.
    """

    def __init__(
        self,
        items: Iterable[ImageItem],
        left_out: LeftOut,
        folder: str | None = None,
        shard: Shard | None = None,
    ) -> None:
        super().__init__(items)
        self.left_out = left_out
        self.folder = folder
        self.shard = shard


def list_images(
    spec: PathLike | Sequence[PathLike], *, root: PathLike | None = None, shard: str | Shard | None = None
) -> ImageList:
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
        root: folder that keys are relative to, so that a key does not depend on what else is listed.
        shard: ``I/N``, to list that part of the images alone; masks are called as in the whole list.

    Returns:
        The images, each path once. Without ``root``, keys are relative to the folder, or to the deepest
        folder that holds all images. What looks like a picture but cannot be decoded is counted in
        ``left_out``.

    Raises:
        UsageError: no such path, no image found or none in the shard, one outside ``root``, a text file that
            cannot be read, or a ``fiftyone:`` name.
    """
    part = Shard.parse(shard) if shard is not None else None
    left_out, folder = LeftOut(), None
    if isinstance(spec, (str, os.PathLike)) or url_of(spec) is not None:
        text = _text(spec)
        if text.startswith(FIFTYONE_PREFIX):
            raise UsageError(
                f"{text} names a FiftyOne dataset; what can be listed: a folder, a glob, a .txt list, a file"
            )
        if url_of(text) is not None:
            folder, found = _in_store(text, left_out, root)
        elif os.path.isdir(text):
            folder = os.path.abspath(text)
            below = left_out.images_of(_walk(folder, left_out))
            found = {rel: os.path.join(folder, *rel.split("/")) for rel in below}
        else:
            found = _by_key(_named_paths(text, left_out), root)
        if folder is not None and root is not None:
            found = _by_key(found.values(), root, listed=True)
        origin = text
    else:
        found = _by_key(map(_text, spec), root)
        origin = "the sequence of paths"
    if not found:
        nothing = "nothing there has a known image extension (.jpg, .png, .webp, ...)"
        raise UsageError(
            f"no images in {origin}: {'; '.join(left_out.describe()) or nothing}; "
            "check the path, or name the files in a .txt file, one path a line"
        )
    keys = sorted(found)
    items = (
        ImageItem(key, found[key], name)
        for key, name in zip(keys, mask_names(keys), strict=True)
        if part is None or key in part
    )
    listed = ImageList(items, left_out, folder, part)
    if not listed:
        raise UsageError(f"none of the {len(keys)} images in {origin} is in shard {part}; use fewer shards")
    return listed


def _text(path: object) -> str:
    """Return a path or an address as text, ``~`` expanded."""
    return url_of(path) or os.path.expanduser(os.fsdecode(path))  # type: ignore[arg-type]


def _in_store(url: str, left_out: LeftOut, root: PathLike | None) -> tuple[str | None, dict[str, str]]:
    """Return the folder that an address names, ``None`` for a file, list or glob, and key -> address."""
    if url.partition("?")[0].lower().endswith(LIST_SUFFIX):
        return None, _by_key(_read_list(url), root)
    if is_glob(url) and not exists(url):
        return None, _by_key(glob_store(url, left_out), root, listed=True)
    if is_one_image(url):
        return None, _by_key([url], root)
    return url, find_in_store(url, left_out)


def _named_paths(text: str, left_out: LeftOut) -> Iterable[str]:
    if os.path.exists(text):
        return _read_list(text) if text.lower().endswith(LIST_SUFFIX) else [text]
    if any(character in text for character in "*?["):
        return left_out.images_of(_glob(text, left_out))
    raise UsageError(f"no such file or folder: {text!r}; check the path (a glob may use *, ?, [..] and **)")


def _read_list(list_path: str) -> list[str]:
    """Return the paths in a list, which are relative to the place of the list."""
    text = read_text(list_path, what=LIST, max_bytes=MAX_LIST_BYTES)
    if "\0" in text:  # no path holds one, but every other byte of UTF-16 does
        raise UsageError(f"{list_path} is not {LIST}: not UTF-8 text")
    lines = [line.strip() for line in io.StringIO(text, newline=None)]
    url = url_of(list_path)
    folder = os.path.dirname(url.partition("?")[0] if url is not None else list_path)
    named = (line for line in lines if line and not line.startswith("#"))
    return [line if url_of(line) else os.path.join(folder, os.path.expanduser(line)) for line in named]


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
        yield from (os.path.join(folder, path) for path in below if matches(path.split("/"), rest))


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


def _by_key(paths: Iterable[str], root: PathLike | None, listed: bool = False) -> dict[str, str]:
    """Return key -> absolute path; a path named twice counts once.

    Addresses that no listing has told are looked at.
    """
    unique: dict[str, str] = {}
    for path in paths:
        if url_of(path) is not None:
            unique.setdefault(f"//{place_of(path)}", path)
        else:
            absolute = os.path.abspath(path)
            unique.setdefault(os.path.normcase(absolute), absolute)
    files = list(unique.values())
    if 0 < len(urls := [path for path in files if url_of(path) is not None]) < len(files):
        raise UsageError(
            f"{urls[0]} is in a store and others are not: label them in two runs, and join those"
        )
    if not listed:
        stamp_all(urls)
    if root is None:
        keys = relative_keys([place_of(path) for path in files])
    else:
        text = _text(root)
        keys = keys_below(text if url_of(text) is not None else os.path.abspath(text), files)
    return dict(zip(keys, files, strict=True))


@dataclass(frozen=True)
class ViewItem:
    """One image file and the ids of the samples that show it, usually one."""

    item: ImageItem
    sample_ids: tuple[str, ...]


def list_view(
    view: foc.SampleCollection, *, root: PathLike | None = None, shard: str | Shard | None = None
) -> list[ViewItem]:
    """List the image files of a dataset or view; paths with ``..`` count under their normal form.

    ``root`` and ``shard`` are as of :func:`list_images`.

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
    items = list_images(list(paths.values()), root=root, shard=shard)
    return [ViewItem(item, tuple(samples[os.path.normcase(item.path)])) for item in items]


def listed_view(
    view: foc.SampleCollection, *, root: PathLike | None = None, shard: str | Shard | None = None
) -> ImageList:
    """Return the images of :func:`list_view` alone."""
    items = [entry.item for entry in list_view(view, root=root, shard=shard)]
    return ImageList(items, LeftOut(), shard=Shard.parse(shard) if shard is not None else None)


ADVICE = {
    "group": "pick the images of a group slice first: view.select_group_slices(media_type='image')",
    "video": "sample frames first, by the button in the panel or by fiftyone_plugin.sample_frames(dataset)",
}

ONLY_IMAGES = "only images can be labelled"


def check_view(view: foc.SampleCollection) -> None:
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


def is_empty(samples: foc.SampleCollection) -> bool:
    """Return whether a dataset or view has no samples.

    ``len(dataset)`` is the database's estimate, which may be 0 after the database was killed.
    """
    return len(samples) == 0 and not samples.limit(1).values("id")


def all_samples(samples: foc.SampleCollection) -> foc.SampleCollection:
    """Return the samples of a dataset or view, of a grouped one those of every slice."""
    if getattr(samples, "_is_dynamic_groups", False):
        samples = samples.flatten()
    if samples.media_type == "group":
        samples = samples.select_group_slices(_allow_mixed=True)
    return samples


def labelled_slices(samples: foc.SampleCollection, field: str) -> foc.SampleCollection:
    """Return the samples of a dataset or view, of a grouped one those of the slices that show a field.

    Where no slice shows it, those of all slices.
    """
    everything = all_samples(samples)
    if everything is samples or not samples._dataset.has_sample_field(field):
        return everything
    group = samples._dataset.group_field
    slices = everything.exists(field).distinct(f"{group}.name") if group else []
    kinds = {samples._dataset.group_media_types.get(name) for name in slices}
    if len(kinds) == 1:
        everything = samples.select_group_slices(sorted(slices))
    return everything
