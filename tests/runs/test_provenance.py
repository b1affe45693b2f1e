"""What a model's folder may ask for: a known size, and weights that are named or lie in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.methods.registry import create_method
from fiftyone_plugin.runs.model import FittedModel, save_method

from ..methods.synthetic import scenes

GOOD = {
    "backbone": "offline-vits14",
    "weights_sha256": "ab" * 32,
    "precision": "float32",
    "size": 448,
    "refine": "none",
    "seed": 0,
}
OWN = {"layer": "out", "descriptor_layers": ["out"], "whiten": None, "refine": "none"}


def write(folder: Path, **changes) -> Path:
    (folder / "pipeline.json").write_text(json.dumps({**GOOD, **changes}))
    return folder


def model_of(backbone: str) -> FittedModel:
    return FittedModel(None, backbone, "ab" * 32, 448, "none", 0)


def test_a_good_one_is_read_as_it_is(tmp_path):
    save_method(create_method("datus", n_classes=2, **OWN).fit(scenes(), progress=NullProgress()), tmp_path)
    found = FittedModel.load(write(tmp_path))
    assert {name: value for name, value in vars(found).items() if name != "method"} == GOOD
    found.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "pipeline.json").read_text()) == GOOD
    older = {name: value for name, value in GOOD.items() if name != "precision"}
    (tmp_path / "pipeline.json").write_text(json.dumps(older))
    assert FittedModel.load(tmp_path).precision is None
    with pytest.raises(UsageError, match="cannot be cut into another number of classes"):
        found.recut(3)


@pytest.mark.parametrize(
    "wrong",
    [{"size": 10**6}, {"size": 0}, {"size": "448"}, {"size": 448.5}, {"size": True}, {"seed": -1},
     {"seed": 2**40}, {"refine": "rm -rf"}, {"refine": None}, {"backbone": None}, {"backbone": ["a"]},
     {"weights_sha256": 5}, {"precision": "int4"}],
    ids=str,
)  # fmt: skip
def test_impossible_values_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="is not the model folder of a run"):
        FittedModel.load(write(tmp_path, **wrong))


@pytest.mark.parametrize(
    "name", ["vit_small_patch14_dinov2.lvd142m", "offline-vits14", "vit_tiny_patch16_224"]
)
def test_names_are_passed_on(name):
    assert model_of(name).backbone_here == name


def test_a_file_is_named_by_its_absolute_path(tmp_path):
    for name in ("w.safetensors", "a=b.pth"):
        path = tmp_path / name
        path.write_bytes(b"x")
        assert model_of(str(path)).backbone_here == str(path)
        with_architecture = f"vit_tiny_patch16_224={path}"
        assert model_of(with_architecture).backbone_here == with_architecture


@pytest.mark.parametrize(
    "name",
    ["hf-hub:somebody/model", "hf_hub:somebody/model", "local-dir:/tmp", "https://example.org/w.pth",
     "file:///etc/w.pth", "{folder}", "{folder}/none.pth", "{folder}/notes.txt", "w.pth", "../w.pth",
     "./w.pth",
     "//server/share/w.pth", "\\\\server\\share\\w.pth", "vit=w.pth", "vit=https://example.org/w.pth", "",
     "{folder}/w\0.pth", "hf-hub:a/b={folder}/w.pth"],
)  # fmt: skip
def test_other_places_are_not_gone_to(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for file in ("w.pth", "notes.txt"):
        (tmp_path / file).write_bytes(b"x")
    with pytest.raises(UsageError, match="name their file with --backbone"):
        assert model_of(name.format(folder=tmp_path)).backbone_here
