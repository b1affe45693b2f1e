"""Class names of a run as FiftyOne's ontology: a taxonomy, in groups of a run with fewer classes.

Source: fiftyone.core.ontology (1.22). Ontologies are versioned and of no dataset: they outlive the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..common.skipped import Skipped
from ..errors import UsageError
from ..images.listing import all_samples
from .comparing import class_tables
from .database import database_errors
from .editing.history import run_names
from .record import RunFields, finished_run

if TYPE_CHECKING:
    import fiftyone as fo
    from fiftyone.core.annotation.nodes import Node
    from fiftyone.core.collections import SampleCollection as View
    from fiftyone.core.ontology import Taxonomy

__all__ = ["save_ontology"]


def save_ontology(
    samples: View, field: str, *, coarse: str | None = None, name: str | None = None
) -> Taxonomy:
    """Save the classes of a run as an ontology, and use it where its regions are edited as detections.

    Saved are a taxonomy ``<name>-classes`` and an annotation ontology ``<name>`` with it; called again, e.g.
    after classes were renamed, it adds a version. If the dataset has ``<field>_detections``, made to correct
    masks, the label schema of these gets classes and ontology, and annotation in the App offers them.

    Args:
        samples: dataset or view.
        field: mask field of a finished run. Hidden classes are left out.
        coarse: mask field of another run with fewer classes, e.g. of the same model by ``recut``: its classes
            become groups, each with the classes that most of its pixels lie in. A class alone in its group
            needs none.
        name: of the ontology; ``None`` for ``<dataset>-<field>``.

    Returns:
        The saved :class:`fiftyone.core.ontology.Taxonomy`. ``fiftyone.delete_ontology(name, force=True)``
        removes the ontology, and with ``<name>-classes`` the taxonomy.

    Raises:
        UsageError: not finished runs, no class is shown, no sample has both masks, or there is an ontology of
            this name that this function has not made.

    Example:
        >>> label_dataset(dataset, "fine", classes=60)  # doctest: +SKIP
        >>> label_dataset(dataset, "coarse", model=fine_model, recut=12)  # doctest: +SKIP
        >>> save_ontology(dataset, "fine", coarse="coarse")  # doctest: +SKIP
        Taxonomy(name='photos-fine-classes', version=1)
    """
    import fiftyone as fo
    from fiftyone.core.annotation.nodes import Node
    from fiftyone.core.ontology import AnnotationOntology, Taxonomy

    dataset = samples._dataset
    with database_errors("No ontology was saved; try again once it does"):
        finished_run(dataset, field)
        shown = run_names(dataset, field).shown
        if not shown:
            raise UsageError(f"field {field!r} has no class that is shown: there is nothing to save")
        name = name or f"{dataset.name}-{field}"
        text = f"Classes of {field} of {dataset.name}, of pseudo-masks"
        for each in (name, f"{name}-classes"):
            if fo.ontology_exists(each) and fo.load_ontology(each).description != text:
                raise UsageError(f"there is an ontology {each!r} of something else: choose another name")
        groups = {} if coarse is None else _groups(samples, field, coarse)
        root = Node(f"{name} classes", can_select=False, values=_nodes(shown, groups, Node))
        taxonomy = Taxonomy(f"{name}-classes", root, text)
        taxonomy.save(overwrite=True)
        AnnotationOntology(name, text, taxonomy=taxonomy).save(overwrite=True)
        _use(dataset, RunFields(field).detections, name, sorted(set(shown.values())))
    return taxonomy


def _groups(samples: View, field: str, coarse: str) -> dict[int, str]:
    """Return class id -> name of the coarse class that most of its pixels have."""
    finished_run(samples._dataset, coarse)
    names = run_names(samples._dataset, coarse).shown
    pixels: Counter[tuple[int, int]] = Counter()
    for _, table in class_tables(all_samples(samples).exists(field).exists(coarse), field, coarse):
        if not isinstance(table, Skipped):
            for (row, column), count in np.ndenumerate(table.counts):
                pixels[int(table.pred_ids[row]), int(table.true_ids[column])] += int(count)
    if not pixels:
        raise UsageError(f"no sample has masks both in {field!r} and in {coarse!r}")
    best: dict[int, tuple[int, int]] = {}
    for (id_, group), count in sorted(pixels.items()):
        if group in names and count > best.get(id_, (0, 0))[0]:
            best[id_] = (count, group)
    return {id_: names[group] for id_, (_, group) in best.items()}


def _nodes(shown: Mapping[int, str], groups: Mapping[int, str], node: type[Node]) -> list[Node]:
    """Return a node a name, below groups of two and more; names within a taxonomy are unique."""
    group_of = {name: groups.get(id_) for id_, name in reversed(list(shown.items()))}
    members: dict[str | None, list[str]] = {}
    for name in dict.fromkeys(shown.values()):
        members.setdefault(group_of[name], []).append(name)
    nodes, taken = [], set(group_of)
    for group, names in members.items():
        leaves = [node(name) for name in names]
        if group is None or len(leaves) == 1:
            nodes += leaves
            continue
        title = group if group not in taken else f"{group} (group)"
        while title in taken:
            title += "+"
        taken.add(title)
        nodes.append(node(title, can_select=False, values=leaves))
    return nodes


def _use(dataset: fo.Dataset, field: str, ontology: str, classes: list[str]) -> None:
    """Let annotation of a field of detections offer the classes."""
    if not dataset.has_sample_field(field):
        return
    schema = dataset.label_schemas.get(field) or dataset.generate_label_schemas(field, scan_samples=False)
    schema = {**schema, "component": "dropdown", "classes": classes, "applied_ontology": ontology}
    dataset.update_label_schema(field, schema)
    dataset.activate_label_schemas([field])
