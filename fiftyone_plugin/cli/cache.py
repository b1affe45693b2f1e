"""``pseudomask cache``: what is kept on disk, and how to get rid of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.console import say
from ..common.paths import CACHE_ENV, cache_dir
from ..errors import UsageError
from . import shared

if TYPE_CHECKING:
    from ..features.cache import SpecInfo

WEIGHTS_FOLDER = "weights"  # where backbones.offline keeps what it has converted


@shared.command(
    "cache",
    help="show or clear stored features and converted weights",
    description=f"Show or clear stored features and converted weights. The folder is ${CACHE_ENV}, else "
    "fiftyone-pseudomask in the user's cache folder. Whatever is removed is computed again when needed.",
    quiet=False,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``cache``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "list what is stored, for which backbone, and how large it is"
    info = shared.add_command(actions, "info", help=text)
    shared.add_json(info, "all of it")
    clear = shared.add_command(actions, "clear", help="remove stored features")
    text = "only these: a hash from `cache info`, or its beginning"
    clear.add_argument("spec", nargs="?", metavar="SPEC", help=text)
    clear.add_argument("--weights", action="store_true", help="remove the converted weights too")
    clear.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    """Run ``cache info`` or ``cache clear``.

    Raises:
        UsageError: no such spec, or nobody to ask for confirmation.
    """
    from ..features.cache import cache_info

    cache = cache_dir()
    stores = cache_info(cache)
    if args.action == "clear":
        return _clear(cache, _select(stores, args.spec), _weights(cache) if args.weights else [], args.yes)
    if shared.finish(args, lambda: _document(cache, stores)):
        _print_table(cache, stores)
    return 0


def _weights(cache: Path) -> list[Path]:
    folder = cache / WEIGHTS_FOLDER
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _select(stores: Sequence[SpecInfo], spec: str | None) -> list[SpecInfo]:
    if spec is None:
        return list(stores)
    chosen = [store for store in stores if store.spec_hash.startswith(spec)]
    if len(chosen) != 1:
        problem = "no stored features begin" if not chosen else "several stored features begin"
        known = ", ".join(store.spec_hash for store in chosen or stores) or "none"
        raise UsageError(f"{problem} with {spec!r}; stored: {known} (see `pseudomask cache info`)")
    return chosen


def _document(cache: Path, stores: Sequence[SpecInfo]) -> dict[str, object]:
    features = [
        {
            "spec": store.spec_hash,
            "backbone": store.backbone,
            "size": store.size,
            "images": store.images,
            "layers": list(store.layers),
            "bytes": store.bytes,
            "former_bytes": store.former_bytes,
            "last_used": _time(store.last_used, "seconds"),
            "parameters": store.spec,
        }
        for store in stores
    ]
    weights = _weights(cache)
    files = [{"name": path.name, "bytes": path.stat().st_size} for path in weights]
    return {"cache": str(cache), "features": features, "weights": files, "bytes": _total(stores, weights)}


def _total(stores: Sequence[SpecInfo], weights: Sequence[Path]) -> int:
    return sum(store.bytes for store in stores) + sum(path.stat().st_size for path in weights)


def _print_table(cache: Path, stores: Sequence[SpecInfo]) -> None:
    weights = _weights(cache)
    if not stores and not weights:
        say(f"nothing stored in {cache}")
        return
    say(f"stored in {cache}")
    if stores:
        rows = [("features", "backbone", "size", "images", "layers", "on disk", "last used")]
        rows += [
            (
                store.spec_hash,
                str(store.backbone or "?"),
                str(store.size or "?"),
                f"{store.images:,}",
                _layers(store),
                human_size(store.bytes),
                _time(store.last_used, "minutes") or "-",
            )
            for store in stores
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        say(*("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))
    for path in weights:
        say(f"converted weights {path.name}  {human_size(path.stat().st_size)}")
    say(f"total {human_size(_total(stores, weights))}")


def _layers(store: SpecInfo) -> str:
    former = [f"{human_size(store.former_bytes)} of a former version"] if store.former_bytes else []
    return ",".join([*store.layers, *former]) or "-"


def _clear(cache: Path, stores: Sequence[SpecInfo], weights: Sequence[Path], yes: bool) -> int:
    from ..features.cache import clear_cache

    if not stores and not weights:
        say(f"nothing to remove in {cache}")
        return 0
    what = f"the features of {len(stores)} {'spec' if len(stores) == 1 else 'specs'}" if stores else ""
    what += f"{' and ' if stores else ''}{len(weights)} converted weights" if weights else ""
    size = human_size(_total(stores, weights))
    if not yes and not _confirmed(f"remove {what} ({size}) from {cache}?"):
        say("nothing removed")
        return 0
    freed = sum(clear_cache(cache, store.spec_hash) for store in stores)
    for path in weights:
        freed += path.stat().st_size
        path.unlink()
    say(f"removed {what}: {human_size(freed)} freed")
    return 0


def _confirmed(question: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can be asked here: pass --yes")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _time(seconds: float | None, precision: str) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", precision)


def human_size(size: float) -> str:
    """Return a number of bytes in decimal units: ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
