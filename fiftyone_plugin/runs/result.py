"""What a run has produced."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common.remote import url_of
from ..errors import UsageError, did_you_mean, without_secrets
from ..images.left_out import LeftOut
from ..masks.files import read_mask
from .folder import RunDirectory
from .record import RunDocument
from .samples import SampleRow, read_samples

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["LabelResult", "finished_run"]


@dataclass(repr=False)
class LabelResult:
    """What a run produced; the same content as its folder.

    Attributes:
        out: the run's folder.
        samples: a row an image, in the order of the keys.
        class_names: class id -> name.
        run: the content of ``run.json``.
        left_out: pictures that were found beside the images but cannot be decoded here, and folders of
            results of earlier runs.
    """

    out: Path
    samples: list[SampleRow]
    class_names: dict[int, str]
    run: dict[str, Any]
    left_out: LeftOut = field(default_factory=LeftOut)

    def __repr__(self) -> str:
        """Return the folder and the counts."""
        counts = f"{len(self.labelled)} labelled, {len(self.skipped)} skipped"
        return f"LabelResult({without_secrets(str(self.out))!r}: {counts}, {len(self.class_names)} classes)"

    @property
    def labelled(self) -> list[SampleRow]:
        """Rows with a mask."""
        return [row for row in self.samples if row.status == "labelled"]

    @property
    def skipped(self) -> list[SampleRow]:
        """Rows without a mask, with their reasons."""
        return [row for row in self.samples if row.status != "labelled"]

    def mask(self, key: str | SampleRow) -> np.ndarray:
        """Return the mask of an image.

        Args:
            key: key of the image as in ``samples``, e.g. ``"beach/1.jpg"`` or ``"image-0001.png"``; the end
                of one where that is of one image alone; or a row.

        Returns:
            (H, W) uint8 or uint16 class ids at native size, 0 for background.

        Raises:
            UsageError: there is no such image, several have this name, or the image was skipped.
            ImageReadError: the mask's file is gone or damaged.
        """
        row = key if isinstance(key, SampleRow) else self._row(key)
        if row.status != "labelled":
            raise UsageError(f"{row.image} has no mask, it was skipped: {row.error}")
        path = self.mask_path(row)
        return read_mask(url_of(path) or path)

    def _row(self, key: str) -> SampleRow:
        found = [row for row in self.samples if row.image == key]
        found = found or [row for row in self.samples if row.image.endswith(f"/{key}")]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"several images are called {key!r}: {', '.join(row.image for row in found[:4])}"
            )
        nearest = did_you_mean(str(key), [row.image for row in self.samples])
        raise UsageError(f"no image {key!r} in this run{nearest or '; the keys are in samples'}")

    def to_pandas(self) -> pd.DataFrame:
        """Return a table with a row an image, by key: the columns of ``samples.csv``.

        ``classes``, ``shares`` and ``qualities`` hold lists of numbers, which belong together.
        """
        import pandas as pd

        lists = ("classes", "shares", "qualities")
        rows = [{**asdict(row), **{name: list(getattr(row, name)) for name in lists}} for row in self.samples]
        return pd.DataFrame(rows, columns=list(SampleRow.__dataclass_fields__)).set_index("image")

    def mask_path(self, row: SampleRow) -> Path:
        """Return the path of a row's mask."""
        return self.out / "masks" / row.mask

    def confidence_path(self, row: SampleRow) -> Path:
        """Return the path of the confidence map beside a row's mask: (h, w) uint8, margin x 255."""
        return self.out / "confidence" / row.mask


def finished_run(run: Path) -> tuple[RunDirectory, RunDocument, list[SampleRow]]:
    """Return the folder, the record and the rows of a finished run.

    Raises:
        UsageError: there is none.
    """
    directory = RunDirectory(run)
    record = directory.read_run() if run.is_dir() else None
    if record is None:
        raise UsageError(f"{run} holds no run of `pseudomask label`")
    if not record.is_complete:
        raise UsageError(f"the run in {run} is not finished: go on with it by `label --resume`")
    return directory, record, read_samples(directory.samples_csv)
