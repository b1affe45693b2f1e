"""Whole runs that are taught: masks, names, both; resumed, from a model, and what to label next."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin import label
from fiftyone_plugin.cli.main import main
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.masks.files import read_mask, write_mask
from fiftyone_plugin.runs.naming import name_clusters
from fiftyone_plugin.runs.suggesting import suggest

from .run_helpers import files, interrupt, masks_of

COLOURS = np.array([[30, 60, 200], [40, 160, 50], [220, 40, 40]], np.uint8)
NAMES = {1: "sky", 2: "grass", 4: "thing"}


def scene(number: int) -> np.ndarray:
    """(96, 96) ids: sky over grass, and a thing on it."""
    rng = np.random.default_rng(number)
    mask = np.full((96, 96), 1, np.uint8)
    mask[rng.integers(40, 60) :] = 2
    top, left = rng.integers(10, 50, 2)
    mask[top : top + 34, left : left + 34] = 4
    return mask


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Ten pictures of two grounds and a thing, and the true masks of all of them."""
    root = tmp_path_factory.mktemp("world")
    (root / "images").mkdir()
    for number in range(10):
        mask, rng = scene(number), np.random.default_rng(100 + number)
        colours = COLOURS[np.array([0, 0, 1, 0, 2])[mask]].astype(int) + rng.integers(-12, 13, (96, 96, 3))
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{number}.png")
        write_mask(root / "truth" / f"{number}.png", mask)
    for number in (0, 1, 2):
        write_mask(root / "labels" / f"{number}.png", scene(number))
    (root / "classes.json").write_text(json.dumps(NAMES))
    return root


@pytest.fixture(scope="module")
def settings(tiny_weights) -> dict:
    return {"backbone": tiny_weights, "size": 112, "jobs": 1, "device": "cpu", "refine": "none", "classes": 6}


@pytest.fixture(scope="module")
def run(world, settings, tmp_path_factory):
    """A run without labels."""
    return label(world / "images", out=tmp_path_factory.mktemp("plain") / "run", **settings)


@pytest.fixture(scope="module")
def taught(world, settings, tmp_path_factory):
    """A run that was taught by three masks."""
    out = tmp_path_factory.mktemp("taught") / "run"
    given = {"labels": world / "labels", "names": world / "classes.json"}
    return label(world / "images", out=out, **given, **settings)


def accuracy(out: Path, world: Path) -> float:
    pairs = [(read_mask(out / "masks" / f"{i}.png"), scene(i)) for i in range(3, 10)]
    return float(np.mean([(mask == truth).mean() for mask, truth in pairs]))


def test_three_masks_label_the_rest_with_their_ids_and_names(taught, world):
    assert taught.class_names == NAMES
    assert set(np.unique([taught.mask(row) for row in taught.labelled]).tolist()) <= set(NAMES)
    assert accuracy(taught.out, world) > 0.8
    assert json.loads((taught.out / "classes.json").read_text()) == {str(k): v for k, v in NAMES.items()}
    assert taught.run["settings"]["labels"]["images"] == 3
    assert all(0 < row.quality <= 1 for row in taught.labelled)


def test_stopped_anywhere_it_ends_with_the_same_bytes(taught, world, settings, tmp_path):
    given = {"labels": world / "labels", "names": world / "classes.json", **settings}
    for number, (stage, after) in enumerate((("regions", 5), ("teach", 4), ("masks", 4))):
        how = {"resume": number > 0, "progress": interrupt(stage, after), **given}
        with pytest.raises(KeyboardInterrupt):
            label(world / "images", out=tmp_path / "run", **how)
    label(world / "images", out=tmp_path / "run", resume=True, **given)
    assert masks_of(tmp_path / "run") == masks_of(taught.out)
    for file in ("method.json", "arrays.safetensors"):
        assert (tmp_path / "run" / "model" / file).read_bytes() == (taught.out / "model" / file).read_bytes()
    others = {**given, "labels": {"0.png": scene(1), "1.png": scene(0)}}
    with pytest.raises(UsageError, match=r"labels\.\w+ was"):
        label(world / "images", out=tmp_path / "run", resume=True, **others)


def test_a_finished_run_is_taught_without_the_network_and_stays_as_it_is(
    run, taught, world, settings, tmp_path
):
    before = {name: (run.out / name).read_bytes() for name in files(run.out)}
    found = label(
        world / "images",
        out=tmp_path / "again",
        model=run.out / "model",
        labels=world / "labels",
        names=NAMES,
        backbone=settings["backbone"],
        device="cpu",
    )
    assert found.run["work"]["forwards"] == 0
    assert masks_of(found.out) == masks_of(taught.out)
    assert before == {name: (run.out / name).read_bytes() for name in files(run.out)}
    new = label(world / "images" / "9.png", out=tmp_path / "new", model=found.out / "model", device="cpu")
    assert np.array_equal(new.mask("9.png"), found.mask("9.png"))


def test_only_the_default_method_is_taught(world, settings, tmp_path):
    given = {**settings, "labels": world / "labels", "method": "lightcluster"}
    with pytest.raises(UsageError, match="mosaic, not with lightcluster"):
        label(world / "images", out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------- names


def true_names(run) -> dict[int, str]:
    table = np.zeros((1 + max(run.class_names), 5))
    for number in range(10):
        np.add.at(table, (run.mask(f"{number}.png"), scene(number)), 1)
    return {k: NAMES[int(table[k].argmax())] for k in run.class_names if table[k].any()}


def test_the_sheet_is_filled_in_and_becomes_a_run(run, world, settings, tmp_path, capsys):
    before = {name: (run.out / name).read_bytes() for name in files(run.out)}
    sheet = tmp_path / "names.csv"
    assert main(["name", str(run.out), "--table", str(sheet)]) == 0
    with sheet.open() as file:
        rows = list(csv.DictReader(file))
    names = true_names(run)
    assert {int(row["cluster"]) for row in rows} == set(names)
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=0.01)
    with Image.open(sheet.with_suffix(".jpg")) as picture:
        assert picture.size[1] > 90
    sheet.write_text("cluster,name\n" + "".join(f"{k},{name}\n" for k, name in names.items()))
    assert main(["name", str(run.out), str(sheet), "--out", str(tmp_path / "named"), "-q"]) == 0
    assert main(["name", str(run.out), "--table", str(sheet), "-q"]) == 0  # names in a sheet stay
    with sheet.open() as file:
        assert {int(row["cluster"]): row["name"] for row in csv.DictReader(file)} == names
    classes = {
        name: int(id_) for id_, name in json.loads((tmp_path / "named/classes.json").read_text()).items()
    }
    unseen = {
        name for k, name in run.class_names.items() if k not in names
    }  # without a pixel, on some machines
    assert set(classes) == {*names.values(), *unseen}
    for row in run.labelled:
        wanted = np.vectorize(lambda k: classes[names[k]])(run.mask(row))
        assert np.array_equal(read_mask(tmp_path / "named" / "masks" / row.mask), wanted)
    assert before == {name: (run.out / name).read_bytes() for name in files(run.out)}

    again = label(world / "images", out=tmp_path / "new", model=tmp_path / "named" / "model", device="cpu")
    assert set(again.class_names.values()) == {*names.values(), *unseen}
    same = [again.mask(row) == read_mask(tmp_path / "named" / "masks" / row.mask) for row in again.labelled]
    assert np.mean(same) > 0.85  # there the scores of clusters are merged, here their masks


def test_names_and_masks_together(run, world, settings, tmp_path):
    named = name_clusters(run.out, true_names(run), tmp_path / "named", classes=NAMES)
    assert {k: v for k, v in named.class_names.items() if v in NAMES.values()} == NAMES
    both = label(
        world / "images",
        out=tmp_path / "both",
        model=named.out / "model",
        labels={"0.png": scene(0)},
        names=NAMES,
        device="cpu",
    )
    assert {k: v for k, v in both.class_names.items() if v in NAMES.values()} == NAMES
    assert accuracy(both.out, world) > 0.8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cluster,name\n99,x\n", "line 2: the run has no cluster 99"),
        ("cluster,name\n1,x\n1,y\n", "line 3: cluster 1 is 'y' here and 'x' above"),
        ("cluster,name\none,x\n", "line 2: 'one' is no id of a cluster"),
        ("cluster,title\n1,x\n", "has no column 'name'"),
        ("cluster,name\n1\n", "line 2: a cluster and its name are wanted"),
        ("cluster,name\n1,\n", "no cluster has a name"),
        ("", "no cluster has a name"),
    ],
)
def test_a_wrong_sheet_is_refused_and_nothing_is_written(run, tmp_path, text, words):
    (tmp_path / "names.csv").write_text(text)
    with pytest.raises(UsageError, match=words):
        name_clusters(run.out, tmp_path / "names.csv", tmp_path / "named")
    assert not (tmp_path / "named").exists()


def test_unnamed_clusters_stay_and_background_becomes_nothing(run, tmp_path):
    named = name_clusters(run.out, {1: "background", 2: " Rock "}, tmp_path / "named")
    assert named.class_names[1] == "Rock"
    assert list(named.class_names.values())[1:] == [f"class {k}" for k in sorted(run.class_names) if k > 2]
    for row in run.labelled:
        old, new = run.mask(row), named.mask(row)
        assert np.array_equal(new == 0, old == 1)
        assert np.array_equal(new == 1, old == 2)
    with pytest.raises(UsageError, match="holds a finished run"):
        name_clusters(run.out, {1: "x"}, tmp_path / "named")
    with pytest.raises(UsageError, match="the run itself"):
        name_clusters(run.out, {1: "x"}, run.out, overwrite=True)
    with pytest.raises(UsageError, match="no class is called 'gras'; did you mean 'grass'"):
        name_clusters(run.out, {1: "gras"}, tmp_path / "other", classes=NAMES)


# ---------------------------------------------------------------------- what next


def test_what_to_label_next_differs_from_what_is_labelled(taught, world, tmp_path, capsys):
    first = suggest(taught.out, 3)
    assert len({one.image for one in first}) == 3
    assert all(one.reason and 0 <= one.unsure <= 1 for one in first)
    assert suggest(taught.out, 3) == first
    further = suggest(taught.out, 20, labels=world / "labels")
    assert {one.image for one in further} == {f"{i}.png" for i in range(3, 10)}
    assert main(["suggest", str(taught.out), "-n", "2", "--json", "-q"]) == 0
    assert [one["image"] for one in json.loads(capsys.readouterr().out)] == [one.image for one in first[:2]]
    assert main(["suggest", str(tmp_path), "-q"]) == 2
    assert "holds no run" in capsys.readouterr().err
