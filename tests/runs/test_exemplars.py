"""Strips of crops: which images are chosen, what is in the picture, and what happens to bad files."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fiftyone_plugin.masks.areas import class_shares
from fiftyone_plugin.masks.files import write_mask
from fiftyone_plugin.runs.exemplars import (
    CLASSES_AT_ONCE,
    GAP,
    SIDE,
    choose_exemplars,
    crop,
    exemplar_path,
    exemplar_uri,
    write_exemplars,
)
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.samples import SampleRow


def make_row(name, mask, quality=0.5):
    classes, shares = class_shares(mask)
    return SampleRow(
        f"{name}.png", f"{name}.png", width=mask.shape[1], height=mask.shape[0],
        classes=classes, shares=shares, quality=quality,
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A run folder with three small photographs in four classes; the paths of the images by key."""
    directory, rows, paths = RunDirectory(tmp_path / "run"), [], {}
    for i, name in enumerate(("astronaut", "chelsea", "coffee")):
        image = getattr(data, name)()[:240, :300]
        mask = np.ones(image.shape[:2], np.uint8)
        mask[:100, : 50 + 40 * i] = 2
        mask[150:170, 200:220] = 3 + (i == 2)
        Image.fromarray(image).save(tmp_path / f"{name}.png")
        write_mask(directory.masks / f"{name}.png", mask)
        rows.append(make_row(name, mask, quality=0.9 - 0.1 * i))
        paths[f"{name}.png"] = str(tmp_path / f"{name}.png")
    return directory, rows, paths


def strip(directory, class_id):
    with Image.open(exemplar_path(directory.root, class_id)) as image:
        return np.asarray(image)


def test_the_best_rows_are_chosen_by_share_and_quality():
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        mask = rng.choice([0, 1, 2, 7], size=(8, 8), p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
        rows.append(make_row(str(i), mask, quality=float(rng.random())))
    chosen = choose_exemplars(iter(rows), 6)
    assert list(chosen) == [1, 2, 7]
    for id_, found in chosen.items():
        showing = [row for row in rows if id_ in row.class_shares]
        expected = sorted(showing, key=lambda row: -row.class_shares[id_] * row.quality)[:6]
        assert found == expected


def test_the_quality_of_the_segment_counts_where_it_is_known():
    mask = np.array([[1, 2], [1, 2]], np.uint8)
    rows = [make_row(name, mask, quality=quality) for name, quality in (("a", 0.9), ("b", 0.1))]
    rows[0].qualities, rows[1].qualities = (0.2, 0.9), (0.8, 0.3)
    chosen = choose_exemplars(rows, 1)
    assert {id_: found[0].image for id_, found in chosen.items()} == {1: "b.png", 2: "a.png"}


def test_of_equal_rows_the_first_are_chosen():
    rows = [make_row(str(i), np.ones((2, 2), np.uint8)) for i in range(9)]
    assert choose_exemplars(rows, 3) == {1: rows[:3]}


def test_a_strip_for_every_class(run):
    directory, rows, paths = run
    write_exemplars(directory, rows, paths)
    names = sorted(path.name for path in directory.exemplars.iterdir())
    assert names == [f"class_000{k}.jpg" for k in (1, 2, 3, 4)]
    for class_id, crops in ((1, 3), (2, 3), (3, 2), (4, 1)):
        assert strip(directory, class_id).shape == (SIDE, crops * (SIDE + GAP) - GAP, 3)


def test_strips_are_the_same_bytes_again(run):
    directory, rows, paths = run
    write_exemplars(directory, rows, paths)
    before = {path.name: path.read_bytes() for path in directory.exemplars.iterdir()}
    write_exemplars(directory, rows, paths)
    assert {path.name: path.read_bytes() for path in directory.exemplars.iterdir()} == before


def test_images_that_are_gone_or_changed_are_left_out(run, tmp_path):
    directory, rows, paths = run
    (tmp_path / "astronaut.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(tmp_path / "chelsea.png")
    write_exemplars(directory, rows, paths)
    assert strip(directory, 1).shape[1] == SIDE
    assert not exemplar_path(directory.root, 3).exists()


def test_many_classes_are_written_in_blocks(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    mask = np.arange(1, CLASSES_AT_ONCE + 11).repeat(5)[None].repeat(40, axis=0)
    Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(tmp_path / "a.png")
    write_mask(directory.masks / "a.png", mask)
    write_exemplars(directory, [make_row("a", mask)], {"a.png": str(tmp_path / "a.png")})
    assert len(list(directory.exemplars.iterdir())) == CLASSES_AT_ONCE + 10


def test_undo_removes_strips_and_nothing_else(run):
    directory, rows, paths = run
    write_exemplars(directory, rows, paths)
    (directory.exemplars / "mine.txt").write_text("mine")
    directory.remove_outputs()
    assert [path.name for path in directory.exemplars.iterdir()] == ["mine.txt"]


def test_a_crop_shows_the_largest_region_in_colour_and_the_rest_dark():
    image = np.full((300, 400, 3), 200, np.uint8)
    mask = np.zeros((300, 400), np.uint8)
    mask[10:20, 10:20] = 5  # a speck of the same class
    mask[100:240, 150:300] = 5
    image[mask == 5] = (10, 220, 30)
    part = crop(image, mask, 5)
    assert part.shape == (SIDE, SIDE, 3)
    middle = part[SIDE // 2, SIDE // 2]
    assert np.abs(middle.astype(int) - (10, 220, 30)).max() <= 2
    assert (part[2, 2] < 100).all()
    inside = (np.abs(part.astype(int) - (10, 220, 30)).max(axis=2) < 40).mean()
    expected = 140 * 150 / (1.15 * 150) ** 2
    assert inside == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 7), (96, 40)])
def test_a_crop_of_small_and_narrow_images(shape):
    image, mask = np.full((*shape, 3), 100, np.uint8), np.zeros(shape, np.uint8)
    mask[-1, -1] = 1
    assert crop(image, mask, 1).shape == (SIDE, SIDE, 3)
    assert crop(image, mask, 2) is None


def test_a_speck_between_the_points_of_the_coarse_mask_is_found():
    mask = np.zeros((640, 640), np.uint8)
    mask[321, 323] = 1
    image = np.zeros((640, 640, 3), np.uint8)
    image[321, 323] = 255
    assert crop(image, mask, 1).max() > 100


def test_the_uri_holds_the_file(run):
    directory, rows, paths = run
    assert exemplar_uri(directory.root, 1) is None
    write_exemplars(directory, rows, paths)
    head, _, text = exemplar_uri(directory.root, 1).partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(text) == exemplar_path(directory.root, 1).read_bytes()


def test_crops_of_a_large_jpeg_are_those_of_the_whole_picture(tmp_path):
    """It is decoded at an eighth, a PNG as it is; what is shown stays the same."""
    whole = Image.fromarray(data.astronaut()).resize((1600, 1600), Image.Resampling.BICUBIC)
    mask = np.ones((1600, 1600), np.uint8)
    mask[100:1400, 200:1500] = 2
    strips = []
    for suffix in ("jpg", "png"):
        directory = RunDirectory(tmp_path / suffix)
        write_mask(directory.masks / "photo.png", mask)
        whole.save(tmp_path / f"photo.{suffix}", quality=95)
        paths = {"photo.png": str(tmp_path / f"photo.{suffix}")}
        write_exemplars(directory, [make_row("photo", mask)], paths)
        strips.append(strip(directory, 2).astype(int))
    assert np.abs(strips[0] - strips[1]).mean() < 4
