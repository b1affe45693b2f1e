"""Write the notebooks of the documentation from the cells below, run them, and keep what they print.

python scripts/notebooks.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"

PHOTOS = """\
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image

photos = Path("photos")
photos.mkdir(exist_ok=True)
for name in ("astronaut", "chelsea", "coffee", "rocket"):
    Image.fromarray(getattr(data, name)()).save(photos / f"{name}.png")
for name in ("china", "flower"):
    Image.fromarray(load_sample_image(f"{name}.jpg")).save(photos / f"{name}.png")
sorted(path.name for path in photos.iterdir())"""

SHOW = """\
def show(path, width=600):
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
        picture.thumbnail((width, 4 * width))
        return picture"""

QUICKSTART = (
    "# Quickstart\n\nLabel a few photographs, look, see which masks to trust, and export them to train on. "
    "The photographs come with scikit-image and scikit-learn (NASA and others, public domain or CC0; china.jpg by "
    "danielbuechele and flower.jpg by vultilion, CC BY 2.0).",
    PHOTOS,
    "## Label\n\nNo labels and no prompts: classes are clusters over all images. Six images make a rough start; "
    "some hundreds do better.",
    'import fiftyone_plugin as fop\n\nresult = fop.label("photos", out="labels", classes=5, size=336, overwrite=True)\nresult',
    "Photographs and masks side by side:",
    f'{SHOW}\n\n\nshow("labels/contact_sheet.png")',
    "A mask holds class ids at the size of its photograph; 0 would be background, or no label.",
    'mask = result.mask("astronaut.png")\nmask.shape, np.unique(mask).tolist()',
    "## Which masks to trust\n\nThe score ranks the masks of one run, without ground truth; it is no IoU.",
    'result.to_pandas()[["quality", "coverage"]].sort_values("quality").round(2)',
    "## Train on them\n\nMasks of class indices, a split by a seed, and 255 where the class was unsure.",
    'exported = fop.export(\n    "labels", out="train", format="ultralytics-semantic", val=0.3, min_confidence=0.1, overwrite=True\n)\n'
    'print(exported.splits, exported.categories)\nprint(Path("train/data.yaml").read_text())',
    'with Image.open(next(Path("train/masks/train").glob("*.png"))) as picture:\n    print(np.unique(np.asarray(picture)))',
)

TEACH = (
    "# Teach and evaluate\n\nA person's minutes: give clusters names, then measure what that buys. The reference here is "
    "made up from the colours of a photograph, for want of true labels that may be shipped; take your own.",
    PHOTOS,
    "## Many clusters first",
    'import fiftyone_plugin as fop\n\nrun = fop.label("photos", out="run", classes=8, size=336, overwrite=True)\n'
    f'{SHOW}\n\n\nshow("run/contact_sheet.png")',
    "## Names\n\nMany clusters may have one name; `ignore` becomes 0. `pseudomask name run --table` writes a sheet with "
    "crops of every cluster to fill in. Here: the three largest clusters keep a name each, the others are one.",
    "share = sum(np.bincount(run.mask(row.image).ravel(), minlength=9) / run.mask(row.image).size for row in run.labelled)\n"
    "order = np.argsort(-share[1:]) + 1\n"
    'names = {int(i): ("first", "second", "third", "rest")[min(place, 3)] for place, i in enumerate(order)}\n'
    'named = fop.name_clusters("run", names, "named", overwrite=True)\nnamed.class_names',
    "## Teach\n\nMasks of some images, whole or in part, teach a finished run in seconds: its features are there. 255 is not "
    "labelled. These two are rough: what is bright and what is dark.",
    'from PIL import ImageOps\n\ntruth = {}\nfor name in ("astronaut", "coffee", "china", "flower"):\n'
    '    with Image.open(photos / f"{name}.png") as picture:\n'
    "        grey = np.asarray(ImageOps.grayscale(picture))\n"
    "    truth[name] = np.select([grey > 150, grey < 90], [1, 2], 255).astype(np.uint8)\n\n"
    'for folder, chosen in (("mine", ("astronaut", "coffee")), ("truth", ("china", "flower"))):\n'
    "    Path(folder).mkdir(exist_ok=True)\n    for name in chosen:\n"
    '        Image.fromarray(truth[name]).save(Path(folder) / f"{name}.png")\n\n'
    'taught = fop.label("photos", out="taught", model="run/model", labels="mine", names=["", "bright", "dark"], size=336, '
    'overwrite=True)\ntaught.class_names',
    "## Evaluate\n\nOn the two photographs that were not handed over. `direct`: ids mean the same in both; without it, "
    "clusters are matched to classes first, and every result says which protocol it is of.",
    'scores = fop.evaluate("taught", "truth", protocol="direct", ignore=[255], names=["", "bright", "dark"])\n'
    'round(scores.scores["miou"], 2), scores.images',
    'matched = fop.evaluate("run", "truth", ignore=[255])\nround(matched.scores["miou"], 2), matched.mapping',
    "## What changed\n\nHow far two runs agree, class by class:",
    'round(fop.compare("run", "taught").agreement, 2)',
)


def make(cells: tuple[str, ...], name: str) -> None:
    """Run cells, text and code in turns of their own, and write the notebook."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.v4.new_notebook()
    for number, cell in enumerate(cells):
        text = cell.startswith(("#", "A mask holds", "Photographs and"))
        made = nbformat.v4.new_markdown_cell(cell) if text else nbformat.v4.new_code_cell(cell)
        made["id"] = f"{name[:8]}-{number}"
        book.cells.append(made)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=300, resources={"metadata": {"path": folder}}).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    nbformat.write(book, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    make(QUICKSTART, "quickstart")
    make(TEACH, "teach_and_evaluate")
