"""What decides an evaluation, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from ..errors import UsageError
from .matching import Mapping
from .protocols import DEFAULT, EvaluationProtocol, get_protocol

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Choices", "Classes", "EvaluationOptions", "parse_classes"]

MAX_REPLICATES = 1_000_000
Classes = dict[int, str] | dict[str, str] | Sequence[str]


def parse_classes(classes: Classes | None) -> dict[int, str] | None:
    """Return class names by id. A list names ids 0, 1, 2, ... by position.

    Raises:
        UsageError: neither a list of names nor ids with names.
    """
    if classes is None:
        return None
    items: Iterable[tuple[int | str, str]]
    try:
        items = classes.items() if isinstance(classes, dict) else enumerate(classes)
        parsed = {int(key): str(name) for key, name in items}
    except (TypeError, ValueError) as error:
        raise UsageError(
            f'classes are a list of names, or ids with names like {{"1": "sky"}}: {error}'
        ) from error
    if not parsed or min(parsed) < 0 or isinstance(classes, str):
        raise UsageError("classes need at least one name, and ids from 0 on")
    return parsed


class Choices(TypedDict, total=False):
    """Attributes of :class:`EvaluationOptions` that functions only pass on."""

    unlabelled: int | None
    background: int
    resize: bool
    boundary: float | None
    replicates: int
    seed: int


@dataclass(frozen=True)
class EvaluationOptions:
    """What decides an evaluation, besides the masks.

    Attributes:
        protocol: a name of :data:`~fiftyone_plugin.evaluation.protocols.PROTOCOLS`.
        classes: names by id; then the ground truth may hold no other id that is not ignored. ``None``: the
            ids that occur.
        ignore: ground-truth ids that take no part at all, ascending.
        unlabelled: predicted id that says "no label": an error, and missing from coverage. ``None``: 0 is a
            cluster like any other.
        background: class of unmatched clusters under ``unmatched-background``.
        mapping: which class every cluster stands for; ``None``: learnt on the images.
        resize: bring predictions of another size to the size of the ground truth (nearest).
        boundary: also measure the boundary F with this tolerance, a share of the image diagonal.
        replicates: bootstrap replicates of the confidence intervals; 0: none.
        seed: seeds the bootstrap.

    Raises:
        UsageError: an unknown protocol, too many replicates, or a mapping for a protocol that learns none.
    """

    protocol: str = DEFAULT
    classes: dict[int, str] | None = None
    ignore: tuple[int, ...] = ()
    unlabelled: int | None = 0
    background: int = 0
    mapping: Mapping | None = None
    resize: bool = False
    boundary: float | None = None
    replicates: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        spec = self.spec
        if self.mapping and (spec.per_image or spec.binary):
            raise UsageError(
                f"protocol {self.protocol} learns no mapping over the data set, so none can be given to it"
            )
        if not 0 <= self.replicates <= MAX_REPLICATES:
            raise UsageError(
                f"the number of bootstrap replicates is {self.replicates}, not within 0..{MAX_REPLICATES:,}"
            )

    @classmethod
    def of(
        cls,
        protocol: str | None = None,
        classes: Classes | None = None,
        ignore: Iterable[int] | None = None,
        mapping: Mapping | dict[str, object] | None = None,
        **choices: Unpack[Choices],
    ) -> EvaluationOptions:
        """Return the options that public arguments stand for.

        Args:
            protocol: default: that of ``mapping``, else ``iou-hungarian``.
            classes: names by id, or a list that names ids by position.
            ignore: ids in any order.
            mapping: also as :meth:`Mapping.to_dict` gives it.
            choices: further attributes.

        Raises:
            UsageError: see the class, or ``classes`` are neither of the two.
        """
        mapping = Mapping.from_dict(mapping) if isinstance(mapping, dict) else mapping
        name = protocol or (mapping.protocol if mapping else DEFAULT)
        ids = tuple(sorted({int(i) for i in ignore or ()}))
        return cls(name, parse_classes(classes), ids, mapping=mapping, **choices)

    @property
    def spec(self) -> EvaluationProtocol:
        """The protocol."""
        return get_protocol(self.protocol)
