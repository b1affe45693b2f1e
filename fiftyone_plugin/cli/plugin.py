"""``pseudomask plugin``: link or copy the plugin's folder to where FiftyOne finds it, or undo that.

FiftyOne discovers plugins as folders below ``fiftyone.config.plugins_dir`` that hold a ``fiftyone.yml``; it
knows no entry points. An installed wheel carries that folder as ``fiftyone_plugin/_bundle``; in a checkout,
or an editable installation of it, the repository's root is that folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .._version import DISTRIBUTION, PLUGIN_NAME
from ..common.console import say
from ..errors import UsageError
from . import shared

MANIFEST = "fiftyone.yml"
BUNDLE_PARTS = (MANIFEST, "__init__.py", "operators", "requirements.txt")

COPY_MARK = ".copied-by-pseudomask"  # lies in copies made here: only those are ever replaced or removed

SENTENCES = {
    "linked": "linked {path} -> {target}",
    "copied": "copied {target} to {path}",
    "unchanged": "nothing to do: {path} already is {target}",
    "removed": "removed {path}",
    "absent": "nothing to do: no {path}",
}


@shared.command("plugin", help="register the plugin with FiftyOne, or remove it", quiet=False)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the two actions of ``plugin``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    put = shared.add_command(actions, "install", help="link the plugin into FiftyOne's plugins directory")
    put.add_argument("--copy", action="store_true", default=None, help="copy instead of linking")
    remove = shared.add_command(actions, "uninstall", help="remove the link or copy made by install")
    text = "default: FiftyOne's own (FIFTYONE_PLUGINS_DIR)"
    for action in (put, remove):
        action.add_argument("--plugins-dir", type=Path, metavar="DIR", help=text)


def run(args: argparse.Namespace) -> int:
    """Do it and say what was done."""
    here = args.plugins_dir
    outcome = install(here, copy=args.copy) if args.action == "install" else uninstall(here)
    say(f"{PLUGIN_NAME}: {SENTENCES[outcome.action].format(**vars(outcome))}")
    return shared.Exit.DONE


@dataclass(frozen=True)
class Outcome:
    """What was done, see :data:`SENTENCES`, to the entry ``path`` in FiftyOne's plugins directory.

    ``target`` is the folder that is linked or copied; ``None`` after a removal.
    """

    action: str
    path: Path
    target: Path | None = None


def bundle_dir() -> Path:
    """Return the folder that is the plugin: ``_bundle`` of an installed wheel, or the repository's root.

    Raises:
        UsageError: neither is there; the installation is incomplete.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_bundle", package.parent):
        if all((folder / part).exists() for part in BUNDLE_PARTS):
            return folder
    raise UsageError(
        f"no plugin folder in or beside {package}, the installation is incomplete: "
        f"pip install --force-reinstall --no-deps {DISTRIBUTION}"
    )


def plugins_dir() -> Path:
    """Return the directory in which FiftyOne looks for plugins. Starts no database."""
    import fiftyone as fo

    return Path(fo.config.plugins_dir).expanduser()


def find_registered(directory: Path) -> list[Path]:
    """Return the folders of this plugin that FiftyOne would find below ``directory``; it uses the first."""
    return [folder for folder in _plugin_folders(directory) if _plugin_name(folder) == PLUGIN_NAME]


def install(directory: Path | None = None, *, copy: bool | None = None) -> Outcome:
    """Make FiftyOne find the plugin; does nothing where it already does.

    Args:
        directory: FiftyOne's plugins directory; ``None`` asks FiftyOne.
        copy: copy instead of linking; ``None`` copies on Windows, where links need a privilege.

    Raises:
        UsageError: something else is in the way, or the plugin is already there by other means.
    """
    directory = directory or plugins_dir()
    copy = os.name == "nt" if copy is None else copy
    source, entry = bundle_dir(), _entry(directory)
    others = [folder for folder in find_registered(directory) if folder != entry]
    if any(folder.resolve() == source for folder in others):
        return Outcome("unchanged", others[0], source)
    if others:
        raise UsageError(
            f"{PLUGIN_NAME} is already in {others[0]}, which this command did not put there: remove it first"
        )
    if not copy and entry.is_symlink() and entry.resolve() == source:
        return Outcome("unchanged", entry, source)
    _clear(entry)
    entry.parent.mkdir(parents=True, exist_ok=True)
    if copy:
        copy_plugin(source, entry)
        return Outcome("copied", entry, source)
    entry.symlink_to(source, target_is_directory=True)
    return Outcome("linked", entry, source)


def uninstall(directory: Path | None = None) -> Outcome:
    """Remove the link or copy that :func:`install` made, and nothing else.

    Raises:
        UsageError: the entry is there but was not made by :func:`install`.
    """
    entry = _entry(directory or plugins_dir())
    action = "removed" if _clear(entry) else "absent"
    if action == "removed" and not any(entry.parent.iterdir()):
        entry.parent.rmdir()
    return Outcome(action, entry)


def _entry(directory: Path) -> Path:
    """Where ``fiftyone plugins download`` would put a plugin of this name."""
    return directory.expanduser().absolute().joinpath(*PLUGIN_NAME.split("/"))


def _clear(entry: Path) -> bool:
    """Remove ``entry`` if it was made here; tell whether there was anything to remove."""
    if entry.is_symlink():
        # a link whose target is gone can only be a remnant: nothing else takes this plugin's name
        if entry.exists() and _plugin_name(entry) != PLUGIN_NAME:
            raise UsageError(
                f"{entry} is a link to {entry.resolve()}, which is not this plugin: remove it first"
            )
        entry.unlink()
        return True
    if not entry.exists():
        return False
    if not (entry / COPY_MARK).is_file():
        raise UsageError(f"{entry} was not put there by this command: remove it first")
    shutil.rmtree(entry)
    return True


def copy_plugin(source: Path, entry: Path) -> None:
    """Copy the plugin, whole or not at all: FiftyOne skips hidden folders, so it never reads half a copy."""
    partial = Path(tempfile.mkdtemp(prefix=".", dir=entry.parent))
    try:
        for part in BUNDLE_PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, partial / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source / part, partial / part)
        (partial / COPY_MARK).write_text(f"{source}\n")
        partial.chmod(0o755)
        partial.rename(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _plugin_folders(directory: Path) -> Iterator[Path]:
    """Walk as FiftyOne does: follow links, skip hidden folders, stop below a manifest."""
    for root, folders, files in os.walk(directory.expanduser().absolute(), followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if MANIFEST in files:
            folders.clear()
            yield Path(root)


def _plugin_name(folder: Path) -> str | None:
    import yaml

    try:
        manifest = yaml.safe_load((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return manifest.get("name") if isinstance(manifest, dict) else None
