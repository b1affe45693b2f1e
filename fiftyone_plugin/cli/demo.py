"""``pseudomask demo``: label the photographs that installed packages carry, and show what came out."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from ..common.console import say
from ..errors import MissingDependencyError, UsageError
from ..methods import DEFAULT_METHOD
from ..runs.config import LabelConfig
from . import shared
from .label import NOTES, REPORT, STRICT, exit_code, prepare_process, report

# Photographs inside wheels: scikit-image (CC0 / public domain, see its data/README.txt), scikit-learn
# (CC BY, see its datasets/images/README.txt), matplotlib (public domain portrait).
PHOTOS = (
    ("skimage", "data", ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png")),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ("matplotlib", "mpl-data/sample_data", ("grace_hopper.jpg",)),
)
DEMO_CLASSES = 5


@shared.command(
    "demo",
    help="label a few photographs that are already on this machine",
    description="Label a few photographs that installed packages carry; no download, no database.",
    notes=NOTES,
    json=REPORT,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``demo``."""
    out = Path("pseudomask-demo")
    parser.add_argument("--out", type=shared.here, default=out, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--method", default=DEFAULT_METHOD, metavar="NAME", help="default: %(default)s")
    parser.add_argument("--strict", action="store_true", help=STRICT)


def demo_photos() -> list[Path]:
    """Return the photographs found in installed packages, without importing those packages."""
    found = []
    for package, folder, names in PHOTOS:
        if (root := shared.package_folder(package)) is not None:
            found += [root / folder / name for name in names if (root / folder / name).is_file()]
    return found


def run(args: argparse.Namespace) -> int:
    """Run ``pseudomask demo``."""
    from ..images.listing import list_images
    from ..runs.pipeline import label_items
    from .doctor import check_database

    prepare_process()
    config = LabelConfig(method=args.method, classes=DEMO_CLASSES)
    if not (photos := demo_photos()):
        raise MissingDependencyError("no photographs found: pip install 'fiftyone-pseudomask[demo]'")
    folder = args.out / "images"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        copies = [shutil.copyfile(photo, folder / photo.name) for photo in photos]
    except OSError as error:
        raise UsageError(f"cannot write to {args.out}: {error.strerror or error}") from error
    progress = shared.progress_of(args)
    result = label_items(list_images(copies), args.out, config, restart=True, progress=progress)
    if report(result, args):
        status = check_database()
        if status.status == "ok":
            say("your own images in the App: fiftyone app launch, then Browse operations > Label dataset")
        else:
            say(f"not shown in the FiftyOne App: {status.detail}. {status.mend}")
    return exit_code(result, args)
