"""Names that an image-text model suggests, held against open_clip itself, with a tiny random model."""

from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest

from fiftyone_plugin.cli import main
from fiftyone_plugin.cli.shared import Exit
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.image_text import TEMPLATES, load_image_text
from fiftyone_plugin.runs.exemplars import crops_of
from fiftyone_plugin.runs.name_ideas import read_vocabulary, suggest_names

open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed: pip install open_clip_torch")
WORDS = ["cat", "cup of coffee", "rocket", "sky"]
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """The name of a model that open_clip knows of now, with a file of weights."""
    import torch

    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "weights.pt")
    return f"tiny-clip={folder / 'weights.pt'}"


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("\n".join(["", *WORDS, "  cat ", ""]), encoding="utf-8")
    return path


def by_hand(crops, weights: str) -> list[float]:
    """The softmax over the words of the mean vector of the crops, a sentence and a crop at a time."""
    import torch

    clip, _, prepare = open_clip.create_model_and_transforms("tiny-clip", pretrained=weights)
    clip.eval()
    tokenize = open_clip.get_tokenizer("tiny-clip")
    unit = torch.nn.functional.normalize
    with torch.no_grad():
        crop = unit(
            sum(unit(clip.encode_image(prepare(c)[None])[0], dim=0) for c in crops) / len(crops), dim=0
        )
        words = [
            unit(sum(unit(clip.encode_text(tokenize([t.format(w)]))[0], dim=0) for t in TEMPLATES), dim=0)
            for w in WORDS
        ]
        return torch.softmax(clip.logit_scale.exp() * torch.stack(words) @ crop, 0).tolist()


def test_every_cluster_has_its_best_words(finished, vocabulary, model):
    ideas = suggest_names(finished.out, vocabulary, model)
    assert set(ideas) == set(finished.class_names) - {0}
    for cluster, found in ideas.items():
        shares = by_hand(crops_of(finished.out, cluster), model.partition("=")[2])
        best = np.argsort(-np.array(shares))[:3]
        assert [name for name, _ in found] == [WORDS[i] for i in best]
        assert [share for _, share in found] == pytest.approx([shares[i] for i in best], abs=1e-3)


def test_the_sheet_has_columns_of_its_own_for_them(finished, vocabulary, model, tmp_path, capsys):
    table = tmp_path / "names.csv"
    command = ["name", str(finished.out), "--table", str(table), "--suggest", str(vocabulary)]
    assert main([*command, "--text-model", model]) == Exit.DONE
    assert "none is taken until" in capsys.readouterr().out
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    ideas = suggest_names(finished.out, WORDS, model)
    assert {int(row["cluster"]): row["suggested"] for row in rows} == {k: v[0][0] for k, v in ideas.items()}
    assert {row["name"] for row in rows} == {""}
    assert all(0 < float(row["score"]) <= 1 for row in rows)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ViT-B-23:laion2b_s34b_b79k", "did you mean 'ViT-B-32'"),
        ("ViT-B-32", r"ViT-B-32 needs weights: ViT-B-32=FILE .* laion2b_s34b_b79k"),
        ("ViT-B-32=nowhere.pt", "no file of weights at 'nowhere.pt'"),
        ("ViT-B-32:laion2b_s34b_b79k", r"cannot load the weights .* of ViT-B-32 \(no network"),
    ],
)
def test_what_is_missing_is_said(name, says):
    with pytest.raises(UsageError, match=says):
        load_image_text(name)


def test_weights_that_are_none(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"no weights")
    with pytest.raises(UsageError, match="cannot load the weights"):
        load_image_text(f"ViT-B-32={tmp_path / 'a.pt'}")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UsageError, match=r"pip install 'fiftyone-pseudomask\[names\]'"):
        load_image_text("ViT-B-32=weights.pt")


def test_vocabulary(tmp_path, vocabulary):
    assert read_vocabulary(vocabulary) == WORDS
    vocabulary.write_text("cat\n")
    with pytest.raises(UsageError, match="holds 1 words"):
        read_vocabulary(vocabulary)


def test_both_options_or_none(finished, vocabulary, capsys):
    assert main(["name", str(finished.out), "--table", "--suggest", str(vocabulary)]) == Exit.REFUSED
    assert "--text-model" in capsys.readouterr().err
