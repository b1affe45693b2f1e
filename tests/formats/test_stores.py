"""Evaluation and export of what is in a store give what they give on the disk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import evaluate, export
from fiftyone_plugin.cli.main import main
from fiftyone_plugin.common import remote
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.masks.files import write_mask


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    """Images, masks and ground truth, on the disk and at s3://data/set."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for name in ("a", "sub/ü 1", "c"):
        for part in ("images", "gt"):
            (root / part / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(root / "images" / f"{name}.png")
        mask = np.kron(rng.integers(0, 3, (4, 6)), np.ones((5, 5), int))
        write_mask(root / "masks" / f"{name}.png", mask)
        write_mask(root / "gt" / f"{name}.png", np.where(rng.random(mask.shape) < 0.1, 2, mask))
    (root / "classes.json").write_text('{"1": "sky", "2": "sea"}')
    store.put_folder(root, "set")
    return root


def test_masks_of_a_store_are_evaluated_like_files(store, folder, capsys):
    here = evaluate(
        folder / "masks", folder / "gt", classes=folder / "classes.json", ignore=[0], replicates=10
    )
    store.faults["GET set/gt/c.png"] = [500]
    url = "s3://data/set"
    there = evaluate(url, f"{url}/gt", classes=f"{url}/classes.json", ignore=[0], replicates=10)
    assert there.scores == here.scores
    assert main(["evaluate", url, f"{url}/gt", "--bootstrap", "0", "-q"]) == 0
    store.faults["GET set/gt/c.png"] = [403]
    lost = evaluate(url, f"{url}/gt", replicates=0)
    assert [entry.key for entry in lost.skipped] == ["c"]
    with pytest.raises(UsageError, match=r"no masks .* in s3://data/none, the folder of ground truth"):
        evaluate(url, "s3://data/none")
    assert main(["evaluate", url, f"{url}/gt", "--calibrate"]) == 2
    assert "must be a folder of this machine" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["coco-instances", "voc", "yolo", "masks"])
def test_exports_from_and_into_a_store_are_those_of_the_disk(store, folder, tmp_path, format):
    here = export(folder, out=tmp_path / "here", format=format)
    there = export("s3://data/set", out=f"s3://data/out-{format}", format=format)
    assert (there.images, there.annotations) == (here.images, here.annotations)
    files = {p.relative_to(here.out).as_posix(): p for p in here.out.rglob("*") if p.is_file()}
    assert set(store.keys(f"out-{format}")) == set(files)
    for name, path in files.items():
        ours, theirs = store.get(f"out-{format}/{name}"), path.read_bytes()
        if name == "export.json":
            ours, theirs = json.loads(ours), json.loads(theirs)
            assert ours.pop("source") == "set"
            theirs.pop("source")
        elif path.suffix == ".json":
            ours, theirs = json.loads(ours), json.loads(theirs)
            ours.pop("info", None), theirs.pop("info", None)
        elif name.endswith((".yaml", ".xml")):
            continue  # they name the folder
        assert ours == theirs, name


def test_an_export_in_a_store_is_replaced_only_when_asked(store, folder, capsys):
    url = "s3://data/again"
    assert main(["export", "s3://data/set", "--out", url, "--format", "masks", "-q"]) == 0
    with pytest.raises(UsageError, match="s3://data/again holds an export"):
        export(folder, out=url, format="masks")
    store.put("again/mine.txt", b"x")
    with pytest.raises(UsageError, match="move yours away"):
        export(folder, out=url, format="masks", overwrite=True)
    remote.remove_objects([f"{url}/mine.txt"])
    export(folder, out=url, format="yolo", overwrite=True)
    assert "export.json" in store.keys("again")
    assert not any(name.startswith("masks/") for name in store.keys("again"))
    store.put("person/a.txt", b"x")
    with pytest.raises(UsageError, match="s3://data/person holds files that no export wrote"):
        export(folder, out="s3://data/person", overwrite=True)


def test_links_cannot_lead_into_a_store(store, folder, tmp_path, capsys):
    args = [
        "export",
        "s3://data/set",
        "--out",
        str(tmp_path / "x"),
        "--format",
        "yolo",
        "--images",
        "symlink",
    ]
    assert main(args) == 2
    assert "which is in a store: choose --images copy" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
