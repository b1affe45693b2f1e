"""What a folder holds beside its images: pictures of other formats, results of earlier work."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .._version import DISTRIBUTION
from ..common.untrusted import read_json
from ..errors import UsageError, without_secrets
from .foreign import RAW_EXTENSIONS
from .reading import image_extensions

__all__ = ["EXPORT_RECORD", "RECORDS", "RUN_OUTPUTS", "LeftOut", "is_export_folder", "is_export_record"]
__all__ += ["is_result_folder", "is_run_folder", "is_run_record"]

EXAMPLES = 5
EXPORT_RECORD = "export.json"  # tells the folder of an export or import from others
RECORDS = frozenset({"run.json", EXPORT_RECORD})
MAX_RECORD_BYTES = 8 << 20
RUN_OUTPUTS = frozenset(
    {"masks", "confidence", "exemplars", "edits", "model", "tokens", "contact_sheet.png", "eigenvalues.png"}
    | {"dendrogram.png", "filtering.png", "given_images"}
)
"""What a run writes of pictures and folders of them."""

# Pictures of phones, cameras and programs that Pillow reads with a plug-in, or not at all. Those that it does
# read here, whatever is installed, are no longer counted: image_extensions() knows them.
_PICTURES = RAW_EXTENSIONS | frozenset(
    re.findall(
        r"\.\w+",
        ".heic .heif .hif .avif .jxl .jp2 .jpx .j2k .jxr .webp .tif .tiff "
        ".exr .hdr .pic .psd .psb .xcf .kra .svg .ai .eps .dcm .fits .wmf .emf",
    )
)


@dataclass
class LeftOut:
    """Files and folders that were found, but are no images of a run.

    Attributes:
        extensions: lower-case extension, with dot -> number of pictures that cannot be decoded here.
        examples: a few of their paths.
        folders: folders that hold results of earlier runs, exports or imports of this package.
    """

    extensions: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def images_of(self, paths: Iterable[str]) -> Iterator[str]:
        """Yield the paths of images that can be decoded, and count the pictures that cannot."""
        readable = image_extensions()
        for path in paths:
            extension = os.path.splitext(path)[1].lower().partition("?")[0]
            if extension in readable:
                yield path
            elif extension in _PICTURES:
                self.extensions[extension] += 1
                if len(self.examples) < EXAMPLES:
                    self.examples.append(without_secrets(path))

    def to_json(self) -> dict[str, object]:
        """Return it for ``run.json``."""
        counts = {name: self.extensions[name] for name in sorted(self.extensions)}
        return {"extensions": counts, "examples": self.examples, "folders": self.folders}

    def describe(self) -> list[str]:
        """Return what a person should know, a line each; none where nothing was left out."""
        lines = []
        if self.extensions:
            counts = ", ".join(f"{n} {extension}" for extension, n in sorted(self.extensions.items()))
            named = ", ".join(self.examples[:3])
            lines.append(
                f"left out: {counts} (such as {named}): not decoded here, convert them to JPEG, PNG or TIFF"
            )
        if self.folders:
            n, named = len(self.folders), ", ".join(self.folders[:3])
            what = "a folder that is the result" if n == 1 else f"{n} folders that are results"
            lines.append(f"left out: {what} of earlier runs, exports or imports ({named})")
        return lines


def is_result_folder(folder: str) -> bool:
    """Tell whether a folder holds a run, an export or an import of this package, by its record."""
    return is_run_folder(folder) or is_export_folder(folder)


def is_run_folder(folder: str) -> bool:
    """Tell whether a folder holds a run of this package, finished or not."""
    return is_run_record(_read(folder, "run.json"))


def is_run_record(document: Mapping[str, object]) -> bool:
    """Tell whether this is the content of a ``run.json`` of this package."""
    settings = document.get("settings")
    return isinstance(settings, dict) and isinstance(settings.get("method"), str) and "status" in document


def is_export_folder(folder: str) -> bool:
    """Tell whether a folder holds an export or an import of this package, by its record."""
    return is_export_record(_read(folder, EXPORT_RECORD))


def is_export_record(document: Mapping[str, object]) -> bool:
    """Tell whether this is the content of an ``export.json`` of this package."""
    ours = str(document.get("made_by", "")).startswith(DISTRIBUTION) or "imported_from" in document
    return ours and "counts" in document


def _read(folder: str, name: str) -> dict[str, object]:
    try:
        document = read_json(Path(folder) / name, what="a record", max_bytes=MAX_RECORD_BYTES)
    except UsageError:  # not there, or somebody else's
        return {}
    return document if isinstance(document, dict) else {}
