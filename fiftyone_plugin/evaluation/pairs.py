"""Pairs of mask files, read and compared by whoever does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..common.remote import ahead, url_of
from ..common.skipped import Skipped
from ..errors import ImageReadError, UsageError
from ..masks.files import read_mask
from ..masks.rules import MaskRules
from .confusion import Contingency
from .options import EvaluationOptions
from .summary import compare

__all__ = ["Comparison"]

FilePair = tuple[str, str | Path, str | Path]
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
            if url_of(path) is None and not Path(path).is_file():
                raise UsageError(
                    f"does not see {path}: both folders have to be on a disk that all machines share, under "
                    "the same path"
                )
        rules = MaskRules(colours=False, ids=self.ids)
        in_store = any(url_of(path) is not None for path in self.example[1:])

        def work(pairs: Sequence[FilePair]) -> Iterator[Compared | Skipped]:
            each = partial(self._compare, rules)
            yield from ahead(each, pairs) if in_store else map(each, pairs)

        return work

    def _compare(self, rules: MaskRules, pair: FilePair) -> Compared | Skipped:
        name, pred_path, true_path = pair
        try:
            return name, *compare(read_mask(pred_path), read_mask(true_path, rules), self.options)
        except (ImageReadError, UsageError) as error:
            return Skipped(name, str(error))
