"""The evaluation protocols by name, each with one honest line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..errors import UsageError, unknown
from . import matching
from .confusion import Contingency
from .matching import Mapping

__all__ = ["DEFAULT", "PROTOCOLS", "EvaluationProtocol", "get_protocol"]


@dataclass(frozen=True)
class EvaluationProtocol:
    """How predictions become classes and which pixels are scored.

    Attributes:
        name: what it is called in the shell, in forms and in results.
        explanation: one line for people.
        match: table of clusters (rows, without unlabelled) by classes -> mapping of clusters.
        per_image: match within every image instead of once over the data set; scores are means over images.
        drop_unmatched: leave pixels without a class out of the score instead of counting them as errors.
        fill_background: clusters without a class, and unlabelled pixels, become the background class.
        binary: both masks are read as zero / non-zero.
    """

    name: str
    explanation: str
    match: Callable[[Contingency], dict[int, int]]
    per_image: bool = False
    drop_unmatched: bool = False
    fill_background: bool = False
    binary: bool = False

    def learn(self, table: Contingency, unlabelled: int | None, background: int = 0) -> Mapping:
        """Learn which class every cluster stands for.

        Args:
            table: pixels by cluster and class; has a column for every class that may be matched.
            unlabelled: predicted id that is no cluster, or ``None``.
            background: class of what is left over, where the protocol fills it.

        Raises:
            UsageError: the protocol needs a background class that the ground truth does not have.
        """
        if self.fill_background and table.true_ids.size and background not in table.true_ids:
            raise UsageError(
                f"protocol {self.name} gives unmatched clusters the background class {background}, which is "
                f"ignored or absent in the ground truth (ids {table.true_ids.tolist()}): name another one, "
                "or take another protocol"
            )
        clusters = self.match(table.without(unlabelled))
        return Mapping(clusters, self.name, background if self.fill_background else None)


_ALL = (
    EvaluationProtocol(
        "iou-hungarian",
        "one cluster per class, matched over the whole data set for the largest sum of IoU; the headline",
        matching.hungarian_iou,
    ),
    EvaluationProtocol(
        "count-hungarian",
        "one cluster per class, matched over the whole data set for most agreeing pixels (as STEGO, CAUSE)",
        matching.hungarian_counts,
    ),
    EvaluationProtocol(
        "majority",
        "every cluster takes the class it covers most; an oracle that rises with the number of clusters",
        matching.majority,
    ),
    EvaluationProtocol(
        "unmatched-background",
        "as iou-hungarian, then whatever has no class becomes background (as MaskContrast, Leopart)",
        matching.hungarian_iou,
        fill_background=True,
    ),
    EvaluationProtocol(
        "alignseg_per_image",
        "matched anew in every image, many to one: purity of regions, not classes; compare at equal K only",
        matching.majority,
        per_image=True,
    ),
    EvaluationProtocol(
        "datus_drop",
        "as count-hungarian, but pixels without a class are left out of the score: flatters, see 'kept'",
        partial(matching.hungarian_counts, keep_empty=True),
        drop_unmatched=True,
    ),
    EvaluationProtocol(
        "identity",
        "predicted ids are class ids already: no matching",
        matching.identity,
    ),
    EvaluationProtocol(
        "foreground",
        "anything but 0 is foreground, in prediction and ground truth: IoU, F-beta, MAE, CorLoc",
        matching.identity,
        binary=True,
    ),
)

PROTOCOLS: dict[str, EvaluationProtocol] = {protocol.name: protocol for protocol in _ALL}
DEFAULT = "iou-hungarian"


def get_protocol(name: str) -> EvaluationProtocol:
    """Return a protocol by name.

    Raises:
        UsageError: unknown name.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
