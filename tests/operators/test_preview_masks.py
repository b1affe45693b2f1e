"""Operator ``preview_masks``: which images, by which model, and that nothing is written."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from fiftyone_plugin import label_dataset
from fiftyone_plugin._version import PLUGIN_NAME

URI = f"{PLUGIN_NAME}/preview_masks"


@pytest.fixture
def fast(tiny_weights):
    return {"method": "lightcluster", "size": 96, "classes": 3, "refine": "none", "backbone": tiny_weights}


@pytest.fixture
def context(context, dataset):
    def build(selected=(), **params):
        return context(URI, dataset, params, operator_uri=URI, selected=list(selected))

    return build


@pytest.fixture
def previewed(foo, context, fast):
    """``previewed(**params)``: what the App would show in the end."""
    from operators.forms.settings import form_values

    def run(selected=(), **params):
        told = list(foo.get_operator(URI).execute(context(selected, **form_values(**fast), **params)))
        last = told[-1].body
        assert last.operator_uri == "show_output", last.params
        return last.params["results"]

    return run


def picture_of(results):
    kind, _, data = results["picture"].partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture
def untouched(dataset):
    """Fails where the dataset is not as it was."""

    def state():
        dataset.reload()
        return dataset.to_dict()["samples"], set(dataset.get_field_schema()), dataset.list_runs()

    before = state()
    yield
    assert state() == before


@pytest.mark.usefixtures("untouched")
def test_a_handful_is_shown_and_nothing_is_written(previewed, fo):
    results = previewed()
    assert results["labelled"] == 6
    assert results["reasons"] == ""
    assert 1 <= results["classes"] <= 3
    picture = picture_of(results)
    assert picture.width > 800
    assert picture.height > 500
    assert not (Path(fo.config.default_dataset_dir) / "pseudomask").exists() or not list(
        Path(fo.config.default_dataset_dir).glob("pseudomask/*/preview*")
    )


@pytest.mark.usefixtures("untouched")
def test_selected_samples_are_shown(previewed, dataset):
    assert previewed(selected=dataset.values("id")[2:4])["labelled"] == 2


def test_the_model_of_a_run_is_used_as_it_is(previewed, dataset, fast, tmp_path, foo, context):
    result = label_dataset(dataset, "auto", out=tmp_path / "run", jobs=1, **fast)
    model = {p.name: p.read_bytes() for p in (tmp_path / "run" / "model").iterdir()}
    shown = foo.get_operator(URI).resolve_input(context()).type.properties
    assert "pseudomask_auto" in shown["source"].type.values
    chosen = foo.get_operator(URI).resolve_input(context(source="pseudomask_auto")).type.properties
    assert "method" not in chosen
    results = previewed(selected=[dataset.first().id], source="pseudomask_auto")
    row = next(r for r in result.labelled if r.image == Path(dataset.first().filepath).name)
    assert results["classes"] == len(row.class_ids)  # the classes of the run, not of a new fit
    assert {p.name: p.read_bytes() for p in (tmp_path / "run" / "model").iterdir()} == model


def test_a_broken_image_is_named(previewed, dataset, fo, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    broken_id = dataset.add_sample(fo.Sample(filepath=str(broken)))
    results = previewed(selected=[dataset.first().id, broken_id])
    assert results["labelled"] == 1
    assert "broken.png" in results["reasons"]


def test_a_run_that_is_gone_is_said(foo, context):
    told = [m.body for m in foo.get_operator(URI).execute(context(source="pseudomask_none"))]
    assert "no finished run" in next(m.params["message"] for m in told if m.operator_uri == "notify")


def test_from_python(foo, dataset, fast):
    foo.get_operator(URI)(dataset.limit(2), **fast)
    assert dataset.list_runs() == []
