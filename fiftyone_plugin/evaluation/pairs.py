"""Pairs of mask files, read and compared by whoever does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..masks.files import read_mask
from ..masks.rules import MaskRules
from .confusion import Contingency
from .options import EvaluationOptions
from .summary import compare

__all__ = ["Comparison"]

FilePair = tuple[str, Path, Path]
Compared = tuple[str, Contingency, dict[str, float]]


@dataclass(frozen=True)
class Comparison:
    """To compare pairs of (name, predicted, true), see :class:`~..engines.base.Work`.

    Attributes:
        options: of the evaluation.
        ids: that the ground truth's masks may hold, where its classes are known.
        example: a pair that every machine must see.
    """

    options: EvaluationOptions
    ids: frozenset[int]
    example: FilePair

    def open(self) -> Callable[[Sequence[FilePair]], Iterator[Compared | Skipped]]:
        """Return what compares.

        Raises:
            UsageError: this machine does not see the masks.
        """
        for path in self.example[1:]:
            if not path.is_file():
                raise UsageError(
                    f"does not see {path}: both folders have to be on a disk that all machines share, under "
                    "the same path"
                )
        rules = MaskRules(colours=False, ids=self.ids)
        return lambda pairs: (self._compare(*pair, rules) for pair in pairs)

    def _compare(self, name: str, pred_path: Path, true_path: Path, rules: MaskRules) -> Compared | Skipped:
        try:
            return name, *compare(read_mask(pred_path), read_mask(true_path, rules), self.options)
        except (ImageReadError, UsageError) as error:
            return Skipped(name, str(error))
