"""Ontologies of a run: what FiftyOne has saved, its groups, and what annotation is offered."""

from __future__ import annotations

import numpy as np
import pytest

import fiftyone_plugin as fop
from fiftyone_plugin.dataset import editing
from fiftyone_plugin.dataset.editing.history import run_names
from fiftyone_plugin.dataset.editing.names import rename_classes


def tree(node):
    return node.name, [tree(child) for child in node.values or []]


def test_classes_become_a_taxonomy_and_a_version_each(fo, tiny, ontology):
    saved = fop.save_ontology(tiny, "m", name=ontology)
    assert (saved.name, saved.version) == (f"{ontology}-classes", 1)
    names = list(run_names(tiny, "m").shown.values())
    assert tree(fo.load_ontology(f"{ontology}-classes").root)[1] == [(each, []) for each in names]
    assert fo.load_ontology(ontology).taxonomy == f"{ontology}-classes"
    rename_classes(tiny, "m", {1: "grass"})
    assert fop.save_ontology(tiny, "m", name=ontology).version == 2
    assert ("grass", []) in tree(fo.load_ontology(f"{ontology}-classes").root)[1]


def test_a_run_of_fewer_classes_gives_the_groups(tiny, tmp_path, write, ontology):
    write(tiny, tmp_path / "coarse", 2, field="c")
    fine, coarse = run_names(tiny, "m").shown, run_names(tiny, "c").shown
    saved = fop.save_ontology(tiny, "m", coarse="c", name=ontology)
    pixels = np.zeros((1 + max(fine), 1 + max(coarse)), int)  # pixel by pixel
    for sample in tiny:
        np.add.at(pixels, (sample.m.get_mask(), sample.c.get_mask()), 1)
    pixels[:, 0] = -1
    expected = {}
    for id_, title in fine.items():
        expected.setdefault(int(pixels[id_].argmax()), []).append((title, []))
    found = tree(saved.root)[1]
    leaves = [leaf for node in found for leaf in (node[1] or [node])]
    assert sorted(leaves) == sorted((title, []) for title in fine.values())
    assert [node[1] for node in found if node[1]] == [v for v in expected.values() if len(v) > 1]


def test_annotation_offers_the_classes(fo, tiny, ontology):
    editing.masks_to_detections(tiny, "m", min_area=1)
    fop.save_ontology(tiny, "m", name=ontology)
    schema = tiny.label_schemas["m_detections"]
    assert schema["classes"] == sorted(run_names(tiny, "m").shown.values())
    assert schema["applied_ontology"] == ontology
    assert "m_detections" in tiny.active_label_schemas
    fo.delete_ontology(ontology, force=True)
    tiny.reload()
    assert tiny.label_schemas["m_detections"]["classes"] == schema["classes"]


def test_ontologies_of_others_stay(fo, tiny, ontology):
    from fiftyone.core.annotation.nodes import Node
    from fiftyone.core.ontology import Taxonomy

    Taxonomy(f"{ontology}-classes", Node("mine")).save()
    with pytest.raises(fop.UsageError, match="of something else"):
        fop.save_ontology(tiny, "m", name=ontology)
    assert fo.load_ontology(f"{ontology}-classes").version == 1
    assert not fo.ontology_exists(ontology)
    with pytest.raises(fop.UsageError, match="nowhere"):
        fop.save_ontology(tiny, "nowhere", name=ontology)
