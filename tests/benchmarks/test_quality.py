"""The benchmark of quality, on three photographs cut to one size with made-up ground truth."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import quality
from benchmarks.data import load_folder
from fiftyone_plugin.common.progress import NullProgress
from fiftyone_plugin.features.backbones import OFFLINE_BACKBONE

CLASSES = {2: "sky", 3: "wall", 5: "water", 7: "grass"}  # 9 is ignored
METHODS = ["all-one-class", "grid", "patch-kmeans"]
H, W = 120, 160


@pytest.fixture(scope="module")
def folder(photos, tmp_path_factory) -> Path:
    """Three photographs with four classes in bands, and a fourth without a mask."""
    folder = tmp_path_factory.mktemp("data") / "bands"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for shift, name in enumerate(("astronaut", "chelsea", "coffee", "rocket")):
        with Image.open(photos / f"{name}.jpg") as image:
            image.resize((W, H)).save(folder / "images" / f"{name}.jpg")
        if name != "rocket":
            mask = np.repeat([7, 2, 5, 3, 9], [30 + 7 * shift, 40, 30, 40, 20 - 7 * shift])[None]
            mask = np.where(np.arange(H)[:, None] < 30 * shift, 3, mask)
            Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{name}.png")
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    (folder / "ignore.json").write_text("[9]")
    return folder


@pytest.fixture(scope="module")
def run(folder, backbone, tmp_path_factory):
    """Run the command on the folder and return its JSON document and its Markdown."""

    def run(*arguments: str) -> tuple[dict, str]:
        out = tmp_path_factory.mktemp("out")
        command = ["--data", str(folder), "--backbone", OFFLINE_BACKBONE, "--methods", *METHODS, "-q"]
        command += ["--size", "112", "--seeds", "0", "1", "--refine", "none", *arguments]
        assert quality.main([*command, "--json", str(out / "q.json"), "--markdown", str(out / "q.md")]) == 0
        (entry,) = json.loads((out / "q.json").read_text()).values()
        return entry, (out / "q.md").read_text()

    return run


def headlines(entry: dict, method: str) -> list[dict[str, float]]:
    return [scores["headline"] for scores in entry["methods"][method].values()]


def by_hand(predicted: list[np.ndarray], true: list[np.ndarray]) -> dict[str, float]:
    """Scores under the best of all one-to-one mappings of four clusters, by trying each."""
    pred, truth = np.concatenate([p.ravel() for p in predicted]), np.concatenate([t.ravel() for t in true])
    pred, truth = pred[truth != 9], truth[truth != 9]

    def iou(cluster: int, class_: int) -> float:
        return ((pred == cluster) & (truth == class_)).sum() / ((pred == cluster) | (truth == class_)).sum()

    table = {(k, c): iou(k, c) for k in (1, 2, 3, 4) for c in CLASSES}
    best = max(
        itertools.permutations(CLASSES), key=lambda p: sum(table[pair] for pair in enumerate(p, start=1))
    )
    named = np.array([0, *best])[pred]
    return {
        "miou": sum(table[pair] for pair in enumerate(best, start=1)) / 4,
        "pixel_accuracy": (named == truth).mean(),
    }


def test_scores_are_those_of_evaluating_by_hand(run, folder, backbone, tmp_path):
    entry, _ = run()
    assert list(entry["methods"]) == METHODS
    data = load_folder(folder)
    assert [item.key for item in data.items] == ["astronaut.jpg", "chelsea.jpg", "coffee.jpg"]
    truth = [np.asarray(Image.open(folder / "masks" / f"{Path(i.key).stem}.png")) for i in data.items]

    ones = np.ones((H, W), int)
    quadrants = 1 + 2 * (np.arange(H)[:, None] >= H / 2) + (np.arange(W) >= W / 2)
    for name, mask in (("all-one-class", ones), ("grid", quadrants)):
        expected = by_hand([mask] * 3, truth)
        for scores in headlines(entry, name):
            assert scores["miou"] == pytest.approx(expected["miou"])
            assert scores["pixel_accuracy"] == pytest.approx(expected["pixel_accuracy"])

    arguments = ["--data", str(folder), "--methods", "patch-kmeans", "--size", "112", "--refine", "none"]
    args = quality.parse_arguments(arguments)
    store = quality.extract(data, backbone, args, NullProgress())
    for seed, scores in enumerate(headlines(entry, "patch-kmeans")):
        method = quality.build("patch-kmeans", 4, seed, "none", {})
        source = quality.ImageFeatureSource(data.items, backbone, method.inputs, size=112, store=store)
        method.fit(source, progress=NullProgress())
        predicted = dict(quality.predictions(method, source, "none"))
        assert all(mask.shape == (H, W) for mask in predicted.values())
        expected = by_hand([predicted[item.key] for item in data.items], truth)
        assert scores["miou"] == pytest.approx(expected["miou"])
        assert scores["pixel_accuracy"] == pytest.approx(expected["pixel_accuracy"])


def test_runs_are_repeatable(run):
    first, _ = run()
    second, _ = run()
    assert first == second
    grid, kmeans = (headlines(first, name) for name in ("grid", "patch-kmeans"))
    assert grid[0] == grid[1]
    assert kmeans[0] != kmeans[1]


def test_tables_show_mean_and_deviation_and_how_they_were_made(run, backbone, capsys):
    entry, markdown = run()
    printed = capsys.readouterr().out
    caption = entry["conditions"].split("; options")[0]
    assert caption.startswith("bands: 3 images, ground-truth ids 9 ignored; C = 4, K = 4")
    for part in (
        "protocol iou-hungarian",
        f"backbone {OFFLINE_BACKBONE} (offline weights, sha256 {backbone.loaded.state_sha256[:12]})",
        "112 px",
    ):
        assert part in caption
    assert caption in printed
    assert markdown.startswith(f"{caption}; seeds 0 1.\n\n| method | miou | pixel accuracy | ari |\n| --- |")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown.splitlines()
        if line.startswith("| ")
    ]
    assert [row[0] for row in rows[2:]] == METHODS
    for row in rows[2:]:
        a, b = headlines(entry, row[0])
        for cell, column in zip(row[1:], ("miou", "pixel_accuracy", "ari"), strict=True):
            mean, deviation = (a[column] + b[column]) / 2, abs(a[column] - b[column]) / 2**0.5
            assert cell == f"{100 * mean:.1f} ± {100 * deviation:.1f}"
            assert cell in printed


def test_a_rerun_computes_only_what_is_missing(folder, backbone, tmp_path, capsys):
    command = [
        "--data",
        str(folder),
        "--backbone",
        OFFLINE_BACKBONE,
        "--size",
        "112",
        "--refine",
        "none",
        "-q",
    ]
    command += ["--json", str(tmp_path / "q.json"), "--methods", "grid"]
    assert quality.main([*command, "--seeds", "0"]) == 0
    capsys.readouterr()
    assert quality.main([*command, "--seeds", "0", "1"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["bands grid seed 1"]
    assert quality.main([*command, "--seeds", "0", "--k-factor", "2"]) == 0
    assert "bands grid seed 0" in capsys.readouterr().err


def test_limit_k_factor_and_one_seed(run):
    entry, markdown = run("--limit", "1", "--k-factor", "2", "--seeds", "3", "--methods", "grid")
    assert entry["conditions"].startswith("bands: 1 images, ground-truth ids 9 ignored; C = 4, K = 8")
    assert list(entry["methods"]["grid"]) == ["3"]
    assert "±" not in markdown.split("|", 1)[1]


def test_what_cannot_run_ends_with_a_message(folder, backbone, tmp_path, capsys, monkeypatch):
    (tmp_path / "images").mkdir()
    assert quality.main(["--data", str(folder / "masks"), "--backbone", OFFLINE_BACKBONE, "-q"]) == 2
    assert f"benchmark: no such file or folder: '{folder / 'masks' / 'images'}'" in capsys.readouterr().err
    monkeypatch.setenv("PSEUDOMASK_DATA", str(tmp_path))
    with pytest.raises(SystemExit) as exit:
        quality.main(["-q"])
    assert exit.value.code == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_salient_objects_get_two_clusters_times_the_factor(backbone, tmp_path, capsys):
    """Of a grid of four cells, one is the object exactly; of two cells, half of one is."""
    for name in ("images", "masks"):
        (tmp_path / "ecssd" / name).mkdir(parents=True)
    corner = np.zeros((H, W), np.uint8)
    corner[H // 2 :, : W // 2] = 255
    Image.fromarray(np.dstack([corner, corner, corner])).save(tmp_path / "ecssd" / "images" / "a.png")
    Image.fromarray(corner).save(tmp_path / "ecssd" / "masks" / "a.png")
    command = ["--data", str(tmp_path / "ecssd"), "--backbone", OFFLINE_BACKBONE, "--methods", "grid", "-q"]
    command += ["--size", "112", "--seeds", "0", "--refine", "none", "--markdown", str(tmp_path / "q.md")]
    for factor, iou in (("1", "50.0"), ("2", "100.0")):
        assert quality.main([*command, "--k-factor", factor]) == 0
        text = (tmp_path / "q.md").read_text()
        assert f"others K = {2 * int(factor)}, Hungarian on IoU" in text
        assert f"| grid | {iou} |" in text
