"""``pseudomask explain``: the panels of a method, what it was fitted on, the picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.cli.main import main
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.images.drawing import Panel, draw_panels
from fiftyone_plugin.methods.base import SegmentationMethod
from fiftyone_plugin.runs.api import label
from fiftyone_plugin.runs.explain import explain

PANELS = {
    "lightcluster": [
        ("photo", "photo"),
        ("data-set level", "heat"),
        ("category level", "heat"),
        ("image level", "heat"),
        ("vote of the three", "heat"),
        ("refined", "heat"),
        ("regions", "labels"),
        ("mask", "labels"),
    ],
    "datus": [
        ("photo", "photo"),
        ("affinity of the marked patch", "heat"),
        ("communities", "labels"),
        ("segments", "labels"),
        ("classes of segments", "labels"),
        ("mask", "labels"),
    ],
}


@pytest.fixture(scope="module")
def options(tiny_weights) -> dict:
    return {"backbone": tiny_weights, "size": 96, "classes": 3, "jobs": 1, "refine": "none", "device": "cpu"}


@pytest.fixture(scope="module")
def run(photos, options, tmp_path_factory):
    return label(photos, out=tmp_path_factory.mktemp("run") / "run", method="datus", **options)


@pytest.mark.parametrize("method", PANELS)
def test_every_stage_is_shown(photos, options, method):
    result = explain(photos / "astronaut.jpg", method=method, **options)
    assert [(p.title.split(":")[0].split(" (")[0], p.kind) for p in result.panels] == PANELS[method]
    assert result.fitted_on == "this image alone"
    assert result.labels.shape == (512, 512)
    np.testing.assert_array_equal(result.panels[0].array, np.asarray(Image.open(photos / "astronaut.jpg")))
    np.testing.assert_array_equal(result.panels[-1].array, result.labels)


def test_with_a_model_the_mask_is_that_of_label(photos, options, run):
    row = next(row for row in run.labelled if row.image == "coffee.jpg")
    result = explain(photos / "coffee.jpg", model=run.out / "model", jobs=1, device="cpu")
    np.testing.assert_array_equal(result.labels, np.asarray(Image.open(run.mask_path(row))))
    assert result.fitted_on == "the model in run"


@pytest.mark.parametrize("way", ["fit_on", "folder"])
def test_fitted_on_a_folder_the_mask_is_that_of_label(photos, options, run, way):
    first = run.labelled[0]
    named = {"image": photos / first.image, "fit_on": photos} if way == "fit_on" else {"image": photos}
    result = explain(**named, method="datus", **options)
    np.testing.assert_array_equal(result.labels, np.asarray(Image.open(run.mask_path(first))))
    assert result.fitted_on == "7 images"
    assert "fitted on 7 images" in result.title


def command(photos, tmp_path, options, *more: str) -> list[str]:
    shared = ["--backbone", options["backbone"], "--size", "96", "--classes", "3", "--jobs", "1"]
    return ["explain", str(photos / "rocket.jpg"), "--out", str(tmp_path / "new" / "x.png"), *shared, *more]


def test_the_command_draws_a_picture_and_says_what_was_fitted(photos, tmp_path, options, capsys):
    arguments = ["--method", "datus", "--set", "descriptor=cls", "--set", "crop_size=112"]
    assert main(command(photos, tmp_path, options, *arguments, "--columns", "3", "--width", "100")) == 0
    assert "6 panels, fitted on this image alone" in capsys.readouterr().out
    with Image.open(tmp_path / "new" / "x.png") as picture:
        photo = Image.open(photos / "rocket.jpg")
        height = round(100 * photo.height / photo.width)
        assert picture.size == (3 * 110 + 10, 34 + 2 * (height + 30))
        cell = np.asarray(picture)[34 : 34 + height, 10:110]
    expected = np.asarray(photo.resize((100, height), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(cell, expected)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--columns", "0"], "--columns must be at least 1"),
        (["--width", "3"], "--width must be 16..4096"),
        (["--model", "nowhere"], "no readable pipeline.json"),
        (["--model", "nowhere", "--fit-on", "."], "exclude each other"),
        (["--method", "nothing"], "unknown method 'nothing'"),
        (["--out", "x.unknown", "--method", "datus"], "choose another --out"),
    ],
)
def test_mistakes_are_one_line(photos, tmp_path, options, capsys, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    assert main(command(photos, tmp_path, options, "-q", *more)) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_broken_image_and_an_unknown_setting(tmp_path, photos, options):
    (tmp_path / "broken.jpg").write_bytes((photos / "rocket.jpg").read_bytes()[:3000])
    with pytest.raises(PseudoMaskError, match=r"broken\.jpg"):
        explain(tmp_path / "broken.jpg", fit_on=photos / "rocket.jpg", method="datus", **options)
    with pytest.raises(UsageError, match="unknown setting"):
        explain(photos / "rocket.jpg", colours=3)


def test_only_methods_with_stages_are_explainable():
    class Silent(SegmentationMethod):
        name = "silent"

    assert not Silent.__new__(Silent).can_explain


def test_panels_are_drawn_by_kind():
    photo = np.full((20, 40, 3), 200, np.uint8)
    heat = np.array([[0.0, 1.0]])
    labels = np.array([[0, 1]])
    sheet = np.asarray(
        draw_panels(
            [Panel("a", photo, "photo"), Panel("b", heat, "heat"), Panel("c", labels, "labels")],
            "title",
            width=40,
        )
    )
    cells = [sheet[34:54, 10 + 50 * i : 50 + 50 * i] for i in range(3)]
    assert (cells[0] == 200).all()
    assert (cells[1][10, 1] == (68, 1, 84)).all()  # lowest
    assert (cells[1][10, -2] == (253, 231, 37)).all()  # highest
    assert (cells[2][:, :19] == 200).all()  # label 0 stays as it is
    assert (cells[2][5, 30] != 200).any()
    marked = draw_panels([Panel("a", photo, "photo"), Panel("b", heat, "heat", (0, 1))], "t", width=40)
    assert (np.asarray(marked)[34, 80:99] == (255, 60, 60)).all()


def test_a_flat_heat_map_is_drawn():
    flat = Panel("b", np.zeros((2, 2)), "heat")
    sheet = draw_panels([Panel("a", np.zeros((8, 8, 3), np.uint8), "photo"), flat], "t", width=16)
    assert (np.asarray(sheet)[40, 40] == (68, 1, 84)).all()
