"""CVAT's "Segmentation mask 1.1": a ZIP of a VOC folder, to upload to a task as its annotations, and back.

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-smask/. Every class of an image is one
mask there, to be edited as a whole; CVAT finds the frame by the path of the image without its extension.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path

from ..common.files import is_safe_name
from ..errors import UsageError
from .base import Converted, ExportOptions, Sample
from .categories import Categories
from .staging import writing
from .voc import VocWriter

__all__ = ["ARCHIVE", "CvatWriter", "unpack"]

ARCHIVE = "annotations.zip"
LOOSE = "annotations"  # what goes into the archive, until it does
MAX_BYTES = 16 << 30  # of all that is unpacked
READ = frozenset({".png", ".bmp", ".tif", ".tiff", ".txt", ".json"})  # images of an archive are not wanted
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes at any time


class CvatWriter(VocWriter):
    """``annotations.zip`` with ``labelmap.txt``, lists and masks."""

    name = "cvat"
    description = "CVAT segmentation mask 1.1: annotations.zip to upload to a task, and its images"
    images_folder = "images"

    @classmethod
    def convert(cls, sample: Sample, folder: Path) -> Converted:
        """Write the indexed PNG."""
        try:
            sample.item.stem.encode()
        except UnicodeEncodeError:
            raise UsageError("its name is not UTF-8, which a ZIP wants: rename the image") from None
        return super().convert(sample, folder / LOOSE)

    def __init__(
        self, folder: Path, categories: Categories, options: ExportOptions, info: dict[str, str]
    ) -> None:
        super().__init__(folder / LOOSE, categories, options, info)

    def finish(self) -> None:
        """Pack what was written."""
        super().finish()
        target = self.folder.with_name(ARCHIVE)
        with writing(target), zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(p for p in self.folder.rglob("*") if p.is_file()):
                entry = zipfile.ZipInfo(path.relative_to(self.folder).as_posix(), EPOCH)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())
        with writing(self.folder):
            shutil.rmtree(self.folder)


def unpack(path: Path) -> tempfile.TemporaryDirectory[str]:
    """Unpack the masks and lists of an archive; the folder goes when the object does.

    Raises:
        UsageError: no ZIP, encrypted, damaged, too large, or a name in it leads out of it.
    """
    folder = tempfile.TemporaryDirectory(prefix="pseudomask-import-")
    try:
        with zipfile.ZipFile(path) as archive:
            wanted = [
                entry
                for entry in archive.infolist()
                if not entry.is_dir() and Path(entry.filename).suffix.lower() in READ
            ]
            size = sum(entry.file_size for entry in wanted)
            if size > MAX_BYTES:
                raise UsageError(
                    f"{path} holds {size:,} bytes of masks, more than {MAX_BYTES:,}: unpack it first"
                )
            for entry in wanted:
                if not is_safe_name(entry.filename):
                    raise UsageError(f"{path}: {entry.filename!r} leads out of the archive")
                archive.extract(entry, folder.name)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise UsageError(f"cannot unpack {path}: {error}") from error
    return folder
