"""What the pages tell people to type is run, page by page: small photographs, a network of no meaning."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fiftyone_plugin as fop
from fiftyone_plugin.cli.main import main
from fiftyone_plugin.evaluation.folders import read_classes
from fiftyone_plugin.images.listing import list_images

from .test_docs import ROOT, blocks, commands

pytestmark = pytest.mark.slow

QUICK = {"size": 112, "refine": "none", "jobs": 1}

# blocks that other tests run, or that nothing here can: the reason
ELSEWHERE = {
    "README.md-1": "installs",
    "README.md-0": "installs; `make demo` is tests/cli/test_demo.py",
    "docs/start.md": "tests/test_docs.py",
    "docs/app.md-0": "tests/operators/test_quick_label.py",
    "docs/app.md-1": "tests/operators/test_label_dataset.py",
    "docs/app.md-2": "a service of FiftyOne; tests/operators/test_long_work.py",
    "docs/editing.md-5": "tests/operators/test_edit_masks.py",
    "docs/evaluation.md-3": "tests/evaluation/test_examples.py",
    "docs/export.md-3": "the second line is Ultralytics' own; the first is that of docs/guides/folder.md",
    "docs/export.md-4": "tests/formats/test_train_student.py",
    "docs/teach.md-4": "a text model; tests/runs/test_name_ideas.py",
    "docs/remote.md-1": "a store; tests/runs/test_stores.py",
    "docs/scale.md": "a cluster; tests/engines",
    "docs/speed.md": "minutes",
    "docs/alignseg.md": "minutes; tests/methods/alignseg",
    "docs/datus.md": "tests/methods/datus",
    "docs/mosaic.md": "tests/cli/test_explain.py; the second is that of docs/guides/folder.md",
    "docs/guides/notebooks.md": "tests/test_notebooks.py",
    "docs/benchmarks.md": "data that is not part of the project, or minutes",
    "CONTRIBUTING.md": "tests/methods/test_contract.py; `make` itself",
}


def code_of(page, language):
    """Return ``number -> text`` of the blocks of a page that run here."""
    found = {}
    for block in blocks(language, [ROOT / page]):
        number = block.id.rpartition("-")[2]
        if page not in ELSEWHERE and f"{page}-{number}" not in ELSEWHERE:
            found[int(number)] = block.values[0]
    return found


def truth_of(path):
    """Return the (H, W) levels of brightness of a photograph, 1 to 3."""
    with Image.open(path) as photo:
        return 1 + np.digitize(np.asarray(photo.convert("L")), [85, 170]).astype(np.uint8)


@pytest.fixture(scope="module")
def place(photos, tmp_path_factory):
    """A folder with what the pages speak of: photos/, new/, coco27/, gt/masks/, masks/ and classes.json."""
    root = tmp_path_factory.mktemp("pages")
    names = ["beach/1.jpg", "beach/2.jpg", *(f"{number}.jpg" for number in range(3, 13))]
    for number, name in enumerate(names):
        photo = sorted(photos.glob("*.jpg"))[number % 6]
        for folder in ("photos", *(["new"] if number < 2 else [])):
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            with Image.open(photo) as image:
                image.resize((96, 64 + number)).save(root / folder / name)
        for folder in ("gt/masks", *(["masks"] if number < 3 else [])):
            mask = (root / folder / name).with_suffix(".png")
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(truth_of(root / "photos" / name)).save(mask)
    (root / "classes.json").write_text('{"1": "dark", "2": "grey", "3": "bright"}')
    return root


@pytest.fixture
def quick(tiny_weights, monkeypatch):
    """Make ``label`` and ``label_dataset`` quick unless a model says how."""
    for name in ("label", "label_dataset"):
        full = getattr(fop, name)

        def short(*args, full=full, model=None, **settings):
            more = QUICK | {"backbone": tiny_weights} if model is None else {}
            return full(*args, model=model, **more, **settings)

        monkeypatch.setattr(fop, name, short, raising=False)


def type_in(text, tiny_weights):
    """Run the ``pseudomask`` lines of a block, as they stand but for what makes them quick."""
    for words in commands(text):
        if words[0] == "name" and "--table" not in words:
            fill_in(Path(words[2]))
        fit = words[0] == "label" and "--model" not in words
        more = ["--size", "112", "--refine", "none", "--backbone", tiny_weights, "--jobs", "1"] if fit else []
        assert main([*words, *more]) == 0, words


def fill_in(sheet):
    """Write a name into every row of a sheet, as a person would."""
    head, *rows = sheet.read_text(encoding="utf-8-sig").splitlines()
    column = head.split(",").index("name")
    for number, row in enumerate(rows):
        cells = row.split(",")
        cells[column] = "sky" if number % 2 else "sea"
        rows[number] = ",".join(cells)
    sheet.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")


SHELL = ["docs/guides/folder.md", "docs/teach.md", "docs/quality.md", "docs/evaluation.md", "docs/export.md"]


@pytest.mark.parametrize("page", [*SHELL, "docs/remote.md"])
def test_commands_run(page, place, tiny_weights, tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    shutil.copytree(place, work)
    monkeypatch.chdir(work)
    if page in SHELL[2:]:  # a run of the folder page stands behind these
        type_in("pseudomask label photos --out labels --classes 4 -q", tiny_weights)
    found = code_of(page, "sh")
    for text in found.values():
        text = text.replace(
            "...\n",
            "".join(
                f"pseudomask label photos --out part-{i} --model fit/model --shard {i}/4\n" for i in (3, 4)
            ),
        )
        if page == "docs/export.md":
            type_in(text.splitlines()[0], tiny_weights)
            shutil.copy("coco/annotations/instances.json", "corrected.json")
            text = "\n".join(line for line in text.splitlines()[1:] if "fiftyone:" not in line)
        type_in("\n".join(line for line in text.splitlines() if "benchmarks." not in line), tiny_weights)
    assert found
    capsys.readouterr()


def test_the_readme_runs(place, quick, tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    shutil.copytree(place, work)
    monkeypatch.chdir(work)
    scope = {}
    for text in code_of("README.md", "python").values():
        exec(compile(text, "README.md", "exec"), scope)
    assert scope["mask"].shape == (64, 96)
    assert 0 < float(capsys.readouterr().out.splitlines()[-1]) <= 1
    assert (work / "train" / "data.yaml").is_file()


@pytest.fixture
def dataset(fo, place, quick, tmp_path, monkeypatch):
    """The photographs with ground truth and the runs that the pages speak of."""
    shutil.copytree(place, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    dataset = fo.Dataset()
    for number, item in enumerate(list_images("photos")):
        truth = fo.Segmentation(mask_path=str(Path("gt/masks", item.key).with_suffix(".png").absolute()))
        tags = ["train", "accepted"] if number % 2 else ["test", "val"]
        dataset.add_sample(fo.Sample(filepath=str(Path(item.path).absolute()), tags=tags, ground_truth=truth))
    dataset.mask_targets = {"ground_truth": read_classes("classes.json")}
    yield dataset
    fo.delete_dataset(dataset.name)


RUNS = {
    "docs/app.md": {"pseudomask": 5, "pseudomask_2": 3},
    "docs/editing.md": {"pseudomask": 8, "pseudomask_12": 3},
    "docs/evaluation.md": {"pseudo_mask": 5},
    "docs/quality.md": {"pseudo_mask": 3},
    "docs/export.md": {"pseudo_mask": 5},
}


def correct(dataset):
    """Give a region of one image to another class, as a person would in the App."""
    edited = dataset.exists("pseudomask_detections")
    sample = next(each for each in edited if each.pseudomask_detections.detections)
    detection = sample.pseudomask_detections.detections[0]
    known = dataset.distinct("pseudomask_detections.detections.label")
    detection.label = next(label for label in known if label != detection.label)
    sample.save()


@pytest.mark.parametrize("page", RUNS)
def test_python_for_a_dataset_runs(page, fo, dataset, tiny_weights):
    for field, classes in RUNS[page].items():
        fop.label_dataset(dataset, field, out=f"run-{field}", classes=classes)
    if page == "docs/export.md":
        dataset.mask_targets["pseudo_mask"] = dict(
            zip(range(1, 6), ["sky", "grass", "a", "b", "c"], strict=True)
        )
        dataset.save()
        type_in("pseudomask label photos --out labels --classes 4 -q", tiny_weights)
        Path("labels/classes.json").write_text('{"1": "sky", "2": "grass", "3": "c", "4": "d"}')
        fop.export(dataset, "pseudo_mask", out="first")
        shutil.copy("first/annotations/instances.json", "corrected.json")
    scope = {"fo": fo, "dataset": dataset, "view": dataset.view(), "correct": correct}
    found = code_of(page, "python")
    for number, text in found.items():
        text = text.replace("# ... correct them", "correct(dataset)\n# ... correct them")
        exec(compile(text, f"{page}-{number}", "exec"), scope)
    assert found
    for name in fo.list_ontologies(f"{dataset.name}*"):
        fo.delete_ontology(name, force=True)


def test_teaching_in_a_dataset_runs(fo, dataset):
    def draw(taught):
        for sample in taught.limit(4).iter_samples(autosave=True):
            sample["mine"] = fo.Segmentation(mask=truth_of(sample.filepath))
        taught.mask_targets = {**taught.mask_targets, "mine": {1: "dark", 2: "grey", 3: "bright"}}

    first, second = code_of("docs/teach.md", "python").values()
    scope = {"draw": draw}
    exec(compile(re.sub("# label these", "draw(dataset)\n# label these", first), "teach.md", "exec"), scope)
    exec(compile(second, "teach.md", "exec"), scope)
    assert scope["dataset"].has_sample_field("auto_named")
    assert not scope["dataset"].has_sample_field("taught")
    assert scope["dataset"].has_sample_field("mine")
    fo.delete_dataset(scope["dataset"].name)


def test_no_block_is_forgotten():
    known = {"docs/guides/folder.md", "README.md", "docs/teach.md", "docs/remote.md", *SHELL, *RUNS}
    for language in ("python", "sh"):
        for block in blocks(language):
            page = block.id.rpartition("-")[0]
            benchmark = all("benchmarks" in line or not line.strip() for line in block.values[0].splitlines())
            assert page in known or {page, block.id} & ELSEWHERE.keys() or benchmark, block.id
    for reason in ELSEWHERE.values():
        for name in re.findall(r"tests/[\w/.]+", reason):
            assert (ROOT / name).exists(), name
