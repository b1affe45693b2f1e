"""Make the documentation's pictures of the App from those that its tests have taken.

python -m pytest tests/app
python scripts/pictures.py [--taken test-artifacts] [--out docs/images] [NAME ...]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

#: picture of docs/images -> picture that a test leaves in test-artifacts
PICTURES = {
    "app-accept": "accept_tagged",
    "app-compare": "compare_panel",
    "app-crops": "panel_crops",
    "app-delete": "panel_delete",
    "app-form": "label_form",
    "app-outlines": "overlay_sample",
    "app-panel": "panel",
    "app-preview": "preview",
    "app-progress": "journey_progress",
    "app-quick-label": "quick_label",
    "app-rename": "rename_form",
    "app-review": "panel_review",
    "app-scheduled": "quick_label_scheduled",
    "app-suggested": "naming_ideas",
    "edit-before": "edit_before",
    "edit-detections": "edit_detections_done",
    "edit-hidden": "edit_hide_done",
    "edit-hide": "edit_hide_form",
    "edit-propagate": "edit_propagate_form",
    "edit-split": "edit_split_done",
    "edit-split-form": "edit_split_form",
    "teach-changed": "teach_changed",
    "teach-form": "teach_form",
    "teach-naming": "naming_card",
    "teach-suggest": "teach_suggest_output",
}
#: what is shown of a window of 1600 x 900 pixels, where it is not all: left, top, right, bottom
GRID = (0, 0, 1600, 300)
CROPS = {
    "app-outlines": (0, 0, 1258, 900),
    "app-suggested": (950, 80, 1600, 680),
    "edit-before": GRID,
    "edit-detections": GRID,
    "edit-hidden": GRID,
    "edit-hide": (390, 0, 1210, 480),
    "edit-propagate": (390, 0, 1210, 490),
    "edit-split": GRID,
    "edit-split-form": (390, 0, 1210, 620),
}
TOUR = "app"  # the README's animation, of the pictures that tour.json lists
WIDTH = 1200
QUALITY = 82
TOUR_WIDTH = 1100
TOUR_QUALITY = 72
CAPTION = 44  # height of the line below, pixels
SECONDS = 2.6  # a picture of the animation
ACCENT = (255, 109, 4)
INK, PAPER = (245, 245, 245), (24, 24, 24)


def shrunk(path: Path, width: int, box: tuple[int, int, int, int] | None = None) -> Image.Image:
    """Read a picture, or a part of it, and make it at most so wide."""
    with Image.open(path) as file:
        shot = file.convert("RGB").crop(box or (0, 0, *file.size))
    width = min(width, shot.width)
    return shot.resize((width, round(shot.height * width / shot.width)), Image.Resampling.LANCZOS)


def draw(frame: dict, folder: Path, number: int, count: int) -> Image.Image:
    """Return a picture of the tour with its caption, and a ring where the next click goes."""
    shot = shrunk(folder / frame["file"], TOUR_WIDTH)
    picture = Image.new("RGB", (TOUR_WIDTH, shot.height + CAPTION), PAPER)
    picture.paste(shot, (0, 0))
    canvas = ImageDraw.Draw(picture)
    if frame["click"]:
        with Image.open(folder / frame["file"]) as file:
            scale = TOUR_WIDTH / file.width
        x, y = (scale * value for value in frame["click"])
        for radius in (18, 17, 16):
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ACCENT)
    text = f"{number}/{count}   {frame['caption']}"
    font = ImageFont.load_default(18)
    canvas.text((16, shot.height + CAPTION // 2), text, fill=INK, font=font, anchor="lm")
    return picture


def animate(taken: Path, out: Path) -> None:
    """Write the animation of the tour."""
    frames = json.loads((taken / "tour.json").read_text())
    first, *rest = (draw(frame, taken, i, len(frames)) for i, frame in enumerate(frames, 1))
    duration = round(1000 * SECONDS)
    options = {"duration": duration, "loop": 0, "quality": TOUR_QUALITY, "method": 6}
    first.save(out, save_all=True, append_images=rest, **options)


def main() -> None:
    """Write the pictures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*PICTURES, TOUR, []], metavar="NAME")
    parser.add_argument("--taken", type=Path, default=Path("test-artifacts"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    for name in arguments.names or [*PICTURES, TOUR]:
        if name == TOUR:
            animate(arguments.taken, arguments.out / f"{name}.webp")
        else:
            shot = shrunk(arguments.taken / f"{PICTURES[name]}.png", WIDTH, CROPS.get(name))
            shot.save(arguments.out / f"{name}.jpg", quality=QUALITY, optimize=True)
        print(name)


if __name__ == "__main__":
    main()
