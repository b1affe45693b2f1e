"""Saved models of LightCluster, damaged ones, and wrong options."""

from __future__ import annotations

import json

import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.methods.lightcluster.method import LightCluster
from fiftyone_plugin.methods.registry import create_method
from fiftyone_plugin.runs.model import load_method, save_method

from ..synthetic import make_image, scene, scenes
from .helpers import method


@pytest.fixture(scope="module")
def fitted() -> LightCluster:
    return method().fit(scenes(10))


# --- saving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"whiten": 6, "center": True}, {"foreground_rule": "attention"}])
def test_saved_and_loaded_it_predicts_the_same(tmp_path, options):
    source = scenes(8)
    fitted = method(**options).fit(source)
    save_method(fitted, tmp_path / "a")
    again = load_method(tmp_path / "a")
    assert again.get_config() == fitted.get_config()
    assert again.n_classes_ == fitted.n_classes_
    for image in [*source, make_image(scene(77), "new.png")]:
        assert again.predict(image).scores.tobytes() == fitted.predict(image).scores.tobytes()
    save_method(again, tmp_path / "b")
    for name in ("method.json", "arrays.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def damage_nothing(folder):
    (folder / "method.json").unlink()


def damage_arrays(folder):
    path = folder / "arrays.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def damage_missing_array(folder):
    from safetensors.numpy import load_file, save_file

    arrays = load_file(folder / "arrays.safetensors")
    del arrays["levels.dataset.centers"]
    save_file(arrays, folder / "arrays.safetensors")


def edit(**changes):
    def damage(folder):
        document = json.loads((folder / "method.json").read_text())
        document.update(changes)
        (folder / "method.json").write_text(json.dumps(document))

    return damage


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (damage_nothing, "holds no fitted method"),
        (damage_arrays, "holds no fitted method"),
        (damage_missing_array, "holds no fitted method: it lacks 'levels.dataset.centers'"),
        (lambda folder: (folder / "method.json").write_text("{"), "holds no fitted method"),
        (lambda folder: (folder / "method.json").write_text("[1]"), "holds no fitted method"),
        (lambda folder: (folder / "method.json").write_text("{}"), "holds no fitted method"),
        (edit(format=99), "format 99, this version reads 1"),
        (edit(method="nothing"), "unknown method 'nothing'"),
        (edit(config={"no_such_option": 1}), "no_such_option"),
    ],
)
def test_damaged_models_are_refused(fitted, tmp_path, damage, match):
    save_method(fitted, tmp_path)
    damage(tmp_path)
    with pytest.raises(UsageError, match=match):
        load_method(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_classes": 0}, {"n_classes": 2.5}, {"n_classes": "many"}, {"n_classes": None}, {"n_classes": True},
        {"n_classes": 70_000}, {"n_dataset_clusters": 1}, {"n_categories": 0}, {"n_category_clusters": 0},
        {"n_image_clusters": 0}, {"temperature": 0}, {"temperature": float("nan")}, {"border_ratio": "much"},
        {"max_foreground": 1.5}, {"sample_size": 0}, {"batch_size": 0}, {"n_init": "x"}, {"min_region": -1},
        {"max_regions": 0}, {"context": -0.1}, {"random_state": -1}, {"random_state": 2**32},
        {"whiten": 0}, {"whiten": 3.5}, {"center": "yes"}, {"layer": "cls"}, {"layer": "attn"}, {"layer": 5},
        {"foreground_rule": "edge"}, {"refine": "blur"}, {"refine": ["crf"]}, {"no_such_option": 1},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_options_are_refused_before_any_work(wrong):
    (name,) = wrong
    with pytest.raises(UsageError) as caught:
        create_method("lightcluster", **wrong)
    assert name.replace("_", " ") in str(caught.value).replace("_", " ")
