"""The public functions :func:`compare` and :func:`undo`: of folders of runs, or of runs in a dataset."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, overload

from ..common.progress import Progress
from ..errors import UsageError

if TYPE_CHECKING:
    import fiftyone as fo
    import fiftyone.core.collections as foc

    from ..evaluation.comparison import Comparison
    from .comparison import StoredComparison
    from .editing.run import Written
    from .record import RunRecord
    from .undoing import Undone

    Folder = str | os.PathLike[str]

__all__ = ["compare", "undo"]


@overload
def compare(a: Folder, b: Folder, /, *, progress: Progress | None = None) -> Comparison: ...


@overload
def compare(
    samples: foc.SampleCollection, a: str, b: str, field: str | None = None, progress: Progress | None = None
) -> StoredComparison: ...


def compare(*sources: Any, **options: Any) -> Any:
    """Say how far two runs agree; their classes are matched one to one first.

    Two folders of runs or masks: ``compare(a, b)``, see
    :func:`fiftyone_plugin.evaluation.comparison.compare_folders`; nothing is written. A FiftyOne dataset or
    view and the mask fields of two runs: ``compare(samples, a, b, field=None)``, see
    :func:`fiftyone_plugin.dataset.comparing.compare_runs`; writes a field of agreement, a saved view and a
    record, which :func:`undo` removes.

    Raises:
        UsageError: not two finished runs, no masks pair, or the field is taken.

    Example:
        >>> compare("labels", "objects").agreement  # doctest: +SKIP
        0.71
        >>> compare(dataset, "pseudomask", "pseudomask_2").key  # doctest: +SKIP
        'compare_pseudomask_vs_pseudomask_2'
    """
    if sources and isinstance(sources[0], (str, os.PathLike)):
        from ..evaluation.comparison import compare_folders

        if len(sources) != 2:
            raise UsageError("compare takes two folders, or a dataset and the mask fields of two runs")
        return compare_folders(os.fspath(sources[0]), os.fspath(sources[1]), **options)
    from .comparing import compare_runs

    return compare_runs(*sources, **options)


def undo(dataset: fo.Dataset, key: str | StoredComparison | RunRecord | Written) -> Undone:
    """Remove what a run made in a dataset, a comparison, or what an edit of masks changed, and nothing else.

    See :func:`fiftyone_plugin.dataset.labelling.undo`. A run that is in no dataset is its folder: delete it.

    Raises:
        UsageError: there is no such run, it was not made by this package, or it is at work.
        PseudoMaskError: another process changes it at this moment.
    """
    from .labelling import undo as undo_key

    if isinstance(dataset, (str, os.PathLike)):
        raise UsageError(
            f"undo takes a FiftyOne dataset and the key of a run, not {os.fspath(dataset)!r}: load it first, "
            "fiftyone.load_dataset(name); a run that is in no dataset is its folder, delete that"
        )
    return undo_key(dataset, key)
