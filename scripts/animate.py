"""Make the README's animation of the App from the pictures that tests/app/test_tour_app.py has taken.

python -m pytest tests/app/test_tour_app.py
python scripts/animate.py test-artifacts docs/images/app.webp
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH = 1100
CAPTION = 44  # height of the line below, pixels
SECONDS = 2.6  # a picture
ACCENT = (255, 109, 4)
INK, PAPER = (245, 245, 245), (24, 24, 24)
QUALITY = 72


def draw(frame: dict, folder: Path, number: int, count: int) -> Image.Image:
    """Return a picture with its caption, and a ring where the next click goes."""
    with Image.open(folder / frame["file"]) as file:
        shot = file.convert("RGB")
    scale = WIDTH / shot.width
    shot = shot.resize((WIDTH, round(shot.height * scale)), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (WIDTH, shot.height + CAPTION), PAPER)
    picture.paste(shot, (0, 0))
    canvas = ImageDraw.Draw(picture)
    if frame["click"]:
        x, y = (scale * value for value in frame["click"])
        for radius in (18, 17, 16):
            canvas.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ACCENT)
    text = f"{number}/{count}   {frame['caption']}"
    font = ImageFont.load_default(18)
    canvas.text((16, shot.height + CAPTION // 2), text, fill=INK, font=font, anchor="lm")
    return picture


def main() -> None:
    """Write the animation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where tour.json and the pictures are")
    parser.add_argument("out", type=Path, help="the .webp or .gif to write")
    arguments = parser.parse_args()
    frames = json.loads((arguments.folder / "tour.json").read_text())
    first, *rest = (draw(frame, arguments.folder, i, len(frames)) for i, frame in enumerate(frames, 1))
    first.save(
        arguments.out,
        save_all=True,
        append_images=rest,
        duration=round(1000 * SECONDS),
        loop=0,
        quality=QUALITY,
        method=6,
    )
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB, {len(frames)} pictures")


if __name__ == "__main__":
    main()
