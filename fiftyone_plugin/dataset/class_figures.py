"""An aggregation of FiftyOne's that counts and scores all classes at once; imports FiftyOne."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fiftyone import Aggregation

if TYPE_CHECKING:
    import fiftyone.core.collections as foc


__all__ = ["ClassFigures"]


class ClassFigures(Aggregation):
    """Value of a list field -> (number of samples whose list has it, mean score of these or ``None``).

    Args:
        classes: a list field.
        score: a number field; empty for none.
    """

    def __init__(self, classes: str, score: str) -> None:
        super().__init__(classes)
        self.score = score

    def _kwargs(self) -> list[list[str]]:
        return [["classes", self.field_name], ["score", self.score]]

    def default_result(self) -> dict[str, tuple[int, float | None]]:
        """Return that there is no class."""
        return {}

    def parse_result(self, d: dict[str, Any]) -> dict[str, tuple[int, float | None]]:
        """Turn what the database found into a mapping."""
        found = (each for each in d["classes"] if each["_id"] is not None)
        return {str(each["_id"]): (int(each["images"]), each["score"]) for each in found}

    def to_mongo(
        self, sample_collection: foc.SampleCollection, context: object = None
    ) -> list[dict[str, Any]]:
        """Return the stages of the database."""
        score = {"$avg": f"${self.score}"} if self.score else {"$first": None}
        counts = {"_id": f"${self.field_name}", "images": {"$sum": 1}, "score": score}
        return [
            {"$unwind": f"${self.field_name}"},
            {"$group": counts},
            {"$group": {"_id": None, "classes": {"$push": "$$ROOT"}}},
        ]
