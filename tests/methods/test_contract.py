"""What holds for every method: an estimator, deterministic, the same when saved and resumed."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.methods.base import SegmentationMethod
from fiftyone_plugin.methods.options import RUN_SETTINGS
from fiftyone_plugin.methods.registry import (
    CATALOG,
    MethodNote,
    create_method,
    describe,
    list_methods,
    method_class,
    register,
)
from fiftyone_plugin.runs.api import label
from fiftyone_plugin.runs.model import load_method, save_method

from .synthetic import MemorySource, make_image, scene, scenes

SMALL: dict[str, dict] = {
    "mosaic": {"layers": ["out"], "cuts": [["out", 2], ["stack", 3]], "cue": "out", "whiten": 8},
    "lightcluster": {"layer": "out", "n_dataset_clusters": 5},
    "datus": {"layer": "out", "descriptor_layers": ["out"], "whiten": None},
    "alignseg": {
        "whiten": 4, "class_layers": "out", "class_whiten": None, "class_clustering": "kmeans", "steps": 6,
        "batch_size": 3, "checkpoint_every": 2, "crop_tokens": 4, "hidden": 16, "min_patches": 2,
    },
}  # fmt: skip
"""Options that are quick on made-up scenes; a method that is not named here runs as it is."""

every_method = pytest.mark.parametrize("name", list_methods())


def make(name: str, n_classes: int = 3, **options) -> SegmentationMethod:
    """Return an unfitted method, quick on made-up scenes."""
    return create_method(
        name, **{"n_classes": n_classes, "refine": "none", "n_jobs": 1, **SMALL.get(name, {}), **options}
    )


def state_bytes(fitted: SegmentationMethod) -> dict[str, bytes]:
    values, arrays = fitted.get_state()
    return {"": json.dumps(values).encode()} | {name: array.tobytes() for name, array in arrays.items()}


def scores_bytes(fitted: SegmentationMethod, images: MemorySource) -> list[bytes]:
    scores = [fitted.predict(image) for image in images]
    return [one.labels.tobytes() + one.scores.tobytes() for one in scores]


def check_an_estimator(name: str) -> None:
    """What needs no fit: parameters, copies, words, and what is refused."""
    cls, method = method_class(name), make(name)
    assert next(iter(inspect.signature(cls).parameters)) == "n_classes"
    params = method.get_params()
    assert set(inspect.signature(cls).parameters) == set(params)
    copy = clone(method)
    assert copy is not method
    assert copy.get_params() == params
    assert copy.get_config() == method.get_config()
    assert repr(cls()) == f"{cls.__name__}()"
    assert repr(cls(n_classes=7)) == f"{cls.__name__}(n_classes=7)"
    assert cls(7).n_classes == 7
    assert copy.set_params(n_classes=5, random_state=3) is copy
    assert (copy.config.n_classes, copy.config.random_state) == (5, 3)
    with pytest.raises(UsageError, match="n_classes"):
        copy.set_params(random_state=9, n_classes=0)
    assert copy.config.random_state == 3  # all or nothing
    with pytest.raises(UsageError, match="did you mean 'n_classes'"):
        copy.set_params(n_clases=2)
    assert json.loads(json.dumps(method.get_config())) == method.get_config()
    assert create_method(name, **method.get_config()).get_config() == method.get_config()
    for option in describe(name):
        assert option.help, option.name
        assert option.allowed, option.name
    assert not {option.name for option in describe(name)} & set(RUN_SETTINGS)


def check_wrong_options(name: str) -> None:
    """Everything impossible is refused by the constructor, and names the option."""
    for wrong in ({"n_classes": 0}, {"n_classes": 2.5}, {"n_classes": None}, {"n_classes": True},
                  {"n_classes": 70_000}, {"random_state": -1}, {"random_state": 2**32},
                  {"refine": "blur"}, {"refine": ["crf"]}, {"no_such_option": 1}):  # fmt: skip
        with pytest.raises(UsageError, match=next(iter(wrong))):
            create_method(name, **wrong)
    for option in method_class(name).config_class.names():
        with pytest.raises(UsageError, match=option):
            create_method(name, **{option: object()})


def check_not_fitted(name: str) -> None:
    """Nothing that needs a fit works before it, and the error is both ours and scikit-learn's."""
    method, image = make(name), make_image(scene(0), "x.png")
    with pytest.raises(NotFittedError):
        check_is_fitted(method)
    for use in (lambda: method.predict(image), method.get_state, lambda: method.explain(image)):
        with pytest.raises(NotFittedError, match="not fitted yet") as caught:
            use()
        assert isinstance(caught.value, PseudoMaskError)


def check_same_seed_same_bytes(name: str, tmp_path: Path) -> None:
    """Two fits are equal, also over processes, and so is what is saved and loaded."""
    source = scenes(8)
    method = make(name).fit(source)
    check_is_fitted(method)
    again = make(name, n_jobs=2).fit(scenes(8))
    assert state_bytes(again) == state_bytes(method)
    expected = scores_bytes(method, source)
    assert scores_bytes(again, source) == expected
    save_method(method, tmp_path / "a")
    loaded = load_method(tmp_path / "a")
    assert type(loaded) is type(method)
    assert scores_bytes(loaded, source) == expected
    save_method(loaded, tmp_path / "b")
    for file in ("method.json", "arrays.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert not set(vars(clone(method))) & {key for key in vars(method) if key.endswith("_")}
    if method.can_recut:
        assert method.recut(2).n_classes_ == 2
    else:
        with pytest.raises(UsageError, match="cannot be cut into another number of classes"):
            method.recut(2)


def check_little_to_go_on(name: str) -> None:
    """Fewer images than classes, one image, identical images, none."""
    lowest = 0 if method_class(name).has_background else 1
    same = MemorySource(make_image(scene(0), f"{i}.png") for i in range(3))
    for source, n_classes in ((scenes(2), 20), (scenes(1), 3), (scenes(1), 1), (same, 3)):
        method = make(name, n_classes).fit(source)
        assert 0 <= method.n_classes_ <= n_classes
        masks = [method.predict(image).argmax() for image in source]
        assert min(mask.min() for mask in masks) >= lowest
        assert max(mask.max() for mask in masks) <= max(1, method.n_classes_)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    with pytest.raises(PseudoMaskError, match="nothing to learn from"):
        make(name).fit(MemorySource())


@every_method
def test_it_is_an_estimator(name):
    check_an_estimator(name)


@every_method
def test_wrong_options_are_refused_before_any_work(name):
    check_wrong_options(name)


@every_method
def test_nothing_works_before_the_fit(name):
    check_not_fitted(name)


@every_method
def test_same_seed_same_bytes_saved_and_loaded(name, tmp_path):
    check_same_seed_same_bytes(name, tmp_path)


@every_method
def test_where_there_is_little_to_go_on(name):
    check_little_to_go_on(name)


# ---------------------------------------------------------------------- through a whole run


@pytest.fixture(scope="module")
def few_photos(photos, tmp_path_factory) -> Path:
    """Three photographs, made small."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("astronaut.jpg", "chelsea.jpg", "coffee.jpg"):
        with Image.open(photos / name) as photo:
            photo.resize((120, 90)).save(folder / name)
    return folder


def masks_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "masks").rglob("*.png"))}


@every_method
def test_interrupted_at_any_stage_it_ends_with_the_same_bytes(name, few_photos, tiny_weights, tmp_path):
    small = SMALL.get(name, {})
    options = {key: small[key] for key in ("steps", "batch_size", "hidden") if key in small}
    settings = {"method": name, "classes": 3, "size": 96, "jobs": 1, "refine": "none", "options": options}
    settings |= {"backbone": tiny_weights, "device": "cpu"}
    stages: dict[str, int] = {}

    def note(stage: str, done: int, total: int) -> None:
        stages[stage] = max(done, stages.get(stage, 0))

    label(few_photos, out=tmp_path / "whole", progress=CallbackProgress(note, interval=0), **settings)
    expected, model = masks_of(tmp_path / "whole"), tmp_path / "whole" / "model"
    assert len(expected) == 3
    assert {"masks", "contact sheet"} < stages.keys()
    out = tmp_path / "interrupted"
    for number, (stage, most) in enumerate(stages.items()):  # stopped in one stage after the other

        def stop(name: str, done: int, total: int, stage: str = stage, after: int = (most + 1) // 2) -> None:
            if name == stage and done >= after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            label(
                few_photos,
                out=out,
                resume=number > 0,
                progress=CallbackProgress(stop, interval=0),
                **settings,
            )
    label(few_photos, out=out, resume=True, **settings)
    assert masks_of(out) == expected
    for file in ("method.json", "arrays.safetensors"):
        assert (out / "model" / file).read_bytes() == (model / file).read_bytes()


# ---------------------------------------------------------------------- a method from outside


def test_the_example_for_contributors_keeps_the_contract(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    module, registering = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(module.splitlines()) <= 45
    (tmp_path / "tiles.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    exec(registering, {"register": register, "MethodNote": MethodNote})
    try:
        assert "tiles" in list_methods()
        with pytest.raises(UsageError, match="there is a method 'tiles' already"):
            register("tiles", CATALOG["tiles"])
        for check in (check_an_estimator, check_wrong_options, check_not_fitted, check_little_to_go_on):
            check("tiles")
        check_same_seed_same_bytes("tiles", tmp_path)
        with pytest.raises(UsageError, match="does not show its stages"):
            make("tiles").fit(scenes(2)).explain(make_image(scene(0), "x.png"))
    finally:
        CATALOG.pop("tiles")
