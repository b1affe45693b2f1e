"""The panel and one click on datasets as people have them: each says what it can, and nothing is raised."""

from __future__ import annotations

import uuid

import pytest

from tests.images.test_frames import make_video
from tests.servers import ROOT

from .driving import (
    ARTIFACTS,
    SECONDS,
    act,
    click,
    modal,
    open_dataset,
    open_panel,
    picture,
    settle,
    wait_for_tiles,
)


@pytest.fixture
def paths(photos):
    return [str(path) for path in sorted(photos.iterdir())]


@pytest.fixture
def make(fo):
    """``make(samples)`` returns a dataset of its own, deleted afterwards with what was made of it."""
    made = []

    def make(samples=(), group=False):
        made.append(fo.Dataset(f"test-{uuid.uuid4().hex[:12]}"))
        if group:
            made[-1].add_group_field("group", default="left")
        made[-1].add_samples(list(samples))
        return made[-1]

    yield make
    for name in fo.list_datasets():
        if name.startswith(tuple(dataset.name for dataset in made)):
            fo.delete_dataset(name)


def groups(fo, make, paths):
    samples = []
    for left, right in zip(paths[:2], paths[2:4], strict=True):
        group = fo.Group()
        samples.append(fo.Sample(filepath=left, group=group.element("left")))
        samples.append(fo.Sample(filepath=right, group=group.element("right")))
    return make(samples, group=True), ""


def dynamic_groups(fo, make, paths):
    dataset = make(fo.Sample(filepath=path, scene=str(number % 2)) for number, path in enumerate(paths[:4]))
    dataset.save_view("scenes", dataset.group_by("scene"))
    return dataset, "?view=scenes"


def patches(fo, make, paths):
    boxes = fo.Detections(detections=[fo.Detection(label="a", bounding_box=[0.2, 0.2, 0.5, 0.5])])
    dataset = make(fo.Sample(filepath=path, boxes=boxes.copy()) for path in paths[:2])
    dataset.save_view("patches", dataset.to_patches("boxes"))
    return dataset, "?view=patches"


def filtered(fo, make, paths):
    dataset = make(fo.Sample(filepath=path) for path in paths)
    dataset.save_view("two", dataset.limit(2))
    return dataset, "?view=two"


KINDS = {  # what a click answers, and how many samples have a mask then
    groups: ("2 images labelled", 2),
    dynamic_groups: ("view of groups", 0),
    patches: ("this is a view of patches", 0),
    filtered: ("2 images labelled", 2),
}


@pytest.mark.usefixtures("backbone")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_panel_and_a_click_raise_nothing(kind, fo, make, paths, page):
    answer, labelled = KINDS[kind]
    dataset, view = kind(fo, make, paths)
    log = ROOT / "app.log"
    before, ours = len(log.read_bytes()) if log.exists() else 0, []
    page.on("console", lambda message: ours.append(message.text) if message.type == "error" else None)
    open_dataset(page, dataset, view)
    panel = open_panel(page, "pseudomasks")
    start = panel.get_by_role("button", name="Label in one click")
    start.wait_for()
    settle(page)
    click(start, page.get_by_text("Labelling" if labelled else answer).first)
    if labelled:
        page.get_by_text(answer).first.wait_for(timeout=SECONDS * 1000)
        panel.get_by_text("Classes (a click shows").wait_for(timeout=SECONDS * 1000)
    settle(page)
    picture(page, f"kind_{kind.__name__}")
    text = log.read_bytes()[before:].decode(errors="replace")
    assert "Traceback" not in text, text[-3000:]
    assert "the panel failed" not in text
    assert [each for each in ours if "pseudomask" in each] == []
    dataset.reload()
    slices = dataset.select_group_slices() if dataset.media_type == "group" else dataset
    masks = slices.exists("pseudomask") if dataset.has_sample_field("pseudomask") else []
    assert len(masks) == labelled


@pytest.mark.usefixtures("backbone")
def test_frames_of_videos_are_sampled_and_labelled(fo, make, page):
    clips = [make_video(ROOT / f"{name}.avi", 20, 10) for name in ("day", "night")]
    dataset = make(fo.Sample(filepath=str(path)) for path in clips)
    log = ROOT / "app.log"
    before = len(log.read_bytes()) if log.exists() else 0
    page.goto(f"/datasets/{dataset.name}")
    panel = open_panel(page, "pseudomasks")
    button = panel.get_by_role("button", name="Sample frames")
    click(button, modal(page).get_by_text("Frames a second"))  # not settled: tiles of videos never are
    page.screenshot(path=ARTIFACTS / "kind_videos.png")
    made = f"{dataset.name}-frames"
    start = modal(page).get_by_role("button", name="Sample", exact=True)
    act(lambda wait: start.click(timeout=wait), page.get_by_text("4 samples"))
    wait_for_tiles(page, 4)
    assert "the panel failed" not in log.read_bytes()[before:].decode(errors="replace")
    before = len(log.read_bytes())  # without ffmpeg, FiftyOne itself fails to show a video
    frames = fo.load_dataset(made)
    assert frames.values("frame_number") == [1, 11] * 2
    panel = open_panel(page, "pseudomasks")
    start = panel.get_by_role("button", name="Label in one click")
    click(start, page.get_by_text("Labelling").or_(panel.get_by_text("Classes (a click shows")).first)
    panel.get_by_text("Classes (a click shows").wait_for(timeout=SECONDS * 1000)
    frames.reload()
    assert len(frames.exists("pseudomask")) == 4
    assert "Traceback" not in log.read_bytes()[before:].decode(errors="replace")
