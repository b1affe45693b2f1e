"""Checkpoints of trainings, and files that somebody made to do harm."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
from pathlib import Path

import pytest
import timm
import torch

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.backbones import load_model
from fiftyone_plugin.features.backbones.checkpoints import (
    MAX_FILE_BYTES,
    backbone_names,
    guess_architecture,
    read_checkpoint,
)


@pytest.fixture(scope="module")
def tiny() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict()


def below(prefix: str, state: dict) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


def zeros(state: dict) -> dict:
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def chunks(state: dict, *, local: bool) -> dict:
    """Blocks in chunks of five: numbered through as in DINOv2, or from 0 in every chunk."""

    def rename(match: re.Match) -> str:
        number = int(match[1])
        return f"blocks.{number // 5}.{number % 5 if local else number}."

    return {re.sub(r"^blocks\.(\d+)\.", rename, name): tensor for name, tensor in state.items()}


HEADS = {"dino_head.mlp.0.weight": torch.ones(2, 2), "ibot_head.last_layer.weight": torch.ones(2, 2)}
MORE = {"mask_token": torch.zeros(1, 192)}
TRAININGS = {
    "DINO": lambda s: {
        "student": zeros(below("module.backbone.", s)),
        "teacher": below("backbone.", s) | HEADS,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "epoch": 100,
    },
    "DINOv2, final": lambda s: {
        "model": zeros(below("student.backbone.", s)) | below("teacher.backbone.", s | MORE),
        "iteration": 9,
    },
    "DINOv2, teacher in chunks": lambda s: {"teacher": below("backbone.", chunks(s | MORE, local=False))},
    "chunks that count from 0": lambda s: {"teacher": chunks(s, local=True)},
    "compiled": lambda s: below("_orig_mod.", s),
    "compiled inside": lambda s: {"model": below("backbone._orig_mod.", s)},
    "distributed and compiled": lambda s: below("module._orig_mod.", s),
    "Lightning": lambda s: {"state_dict": below("net.encoder.", s), "hyper_parameters": {"lr": 1}},
    "sharded, with a gram teacher": lambda s: {
        "model": zeros(below("gram_teacher.backbone.", s))
        | below("model_ema._fsdp_wrapped_module.backbone.", s)
    },
    "student alone": lambda s: {"student": below("module.backbone.", s)},
}


@pytest.mark.parametrize("title", TRAININGS)
def test_the_backbone_of_a_training(tiny, tmp_path, title):
    torch.save(TRAININGS[title](tiny), tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert guess_architecture(found) == "vit_tiny_patch16_224"
    assert tiny.keys() <= found.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tiny.items())
    assert not any("head" in name for name in found)


def test_names_without_a_backbone_stay(tiny):
    assert backbone_names(["conv1.weight", "head.bias", "fc.weight"]) == {
        "conv1.weight": "conv1.weight",
        "fc.weight": "fc.weight",
    }
    assert backbone_names([]) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tiny, tmp_path, value):
    broken = {**tiny, "blocks.3.mlp.fc1.weight": tiny["blocks.3.mlp.fc1.weight"].clone()}
    broken["blocks.3.mlp.fc1.weight"][5, 7] = value
    torch.save(broken, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"blocks\.3\.mlp\.fc1\.weight holds values that are not finite"):
        load_model(str(tmp_path / "w.pth"), tmp_path)


def as_torch(document: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(document, buffer)
    return buffer.getvalue()


def header(length: int, document: object = None) -> bytes:
    text = json.dumps(document).encode()
    return struct.pack("<Q", length or len(text)) + text


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 24))
    return buffer.getvalue()


def nested(depth: int) -> dict:
    document: dict = {"a": torch.ones(1)}
    for _ in range(depth):
        document = {"model": document}
    return document


ANCHOR = "patch_embed.proj.weight"
FAR = 1 << 40
CRAFTED = {
    "a header of 100 MB": (".safetensors", header(100_000_000)),
    "a header longer than the file": (".safetensors", header(5_000)),
    "8 bytes": (".safetensors", b"\0" * 8),
    "offsets beyond the file": (
        ".safetensors",
        header(0, {ANCHOR: {"dtype": "F32", "shape": [FAR], "data_offsets": [0, 4 * FAR]}}),
    ),
    "a header that is no object": (".safetensors", header(0, [[[]]])),
    "strings": (".pth", as_torch({ANCHOR: "weights", "x": ["y"]})),
    "numbers": (".pth", as_torch({ANCHOR: 3.5})),
    "a list": (".pth", as_torch([torch.ones(2)])),
    "keys that are no names": (".pth", as_torch({0: torch.ones(2), (1, 2): torch.ones(2)})),
    "deep": (".pth", as_torch(nested(200))),
    "a view that repeats one number": (".pth", as_torch({ANCHOR: torch.ones(1).expand(384, 3, 4096, 4096)})),
    "a vector": (".pth", as_torch({ANCHOR: torch.ones(384)})),
    "a sparse tensor": (".pth", as_torch({ANCHOR: torch.eye(4).to_sparse()})),
    "complex numbers": (".pth", as_torch({ANCHOR: torch.ones(192, 3, 16, 16, dtype=torch.complex64)})),
    "registers of one dimension": (
        ".pth",
        as_torch({ANCHOR: torch.ones(384, 3, 14, 14), "reg_token": torch.ones(3)}),
    ),
    "patches of 7 pixels": (".pth", as_torch({ANCHOR: torch.ones(384, 3, 7, 7)})),
    "position embeddings of no grid": (
        ".pth",
        as_torch({ANCHOR: torch.ones(384, 3, 14, 14), "pos_embed": torch.ones(7), "a.ls1.b": torch.ones(1)}),
    ),
    "a compressed archive": (".pth", zip_bomb()),
    "half an archive": (".pth", as_torch({ANCHOR: torch.ones(384, 3, 14, 14)})[:5000]),
    "an old pickle": (".pth", b"\x80\x02}q\x00."),
    "nothing": (".pth", b""),
}


@pytest.mark.parametrize("title", CRAFTED)
def test_crafted_files_are_one_clear_error(tmp_path, title):
    suffix, data = CRAFTED[title]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=re.escape(str(path))) as caught:
        load_model(str(path), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(UsageError, match="not a regular file"):
        load_model(str(tmp_path / "folder.pth"), tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.safetensors")
        with pytest.raises(UsageError, match="not a regular file"):
            load_model(str(tmp_path / "pipe.safetensors"), tmp_path)


def test_a_file_of_a_terabyte_of_nothing(tmp_path):
    path = Path(tmp_path / "w.pth")
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(UsageError, match="too large for a checkpoint"):
        load_model(str(path), tmp_path)
