"""Make a release: set the version everywhere, build, check, commit and tag; uploading stays yours.

python scripts/release.py 0.2.0
git push --follow-tags && twine upload dist/*
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).parents[1]
# file -> what comes before the version there; the first match counts
PLACES = {
    "fiftyone_plugin/_version.py": r'__version__ = "',
    "fiftyone.yml": r"^version: ",
    "CITATION.cff": r"^version: ",
}
_VERSION = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"


def set_version(root: Path, version: str, day: str) -> None:
    """Write the version where it stands, and the day into the changelog.

    Raises:
        ValueError: no version, or the changelog has nothing unreleased of it.
    """
    if not re.fullmatch(_VERSION, version):
        raise ValueError(f"{version!r} is no version like 0.2.0 or 0.2.0rc1")
    changelog = root / "CHANGELOG.md"
    text, found = re.subn(
        rf"^## \[{re.escape(version)}\] - unreleased$",
        f"## [{version}] - {day}",
        changelog.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if found != 1:
        raise ValueError(f"CHANGELOG.md has no section `## [{version}] - unreleased`")
    for name, before in PLACES.items():
        path = root / name
        changed, count = re.subn(
            f"({before}){_VERSION}",
            rf"\g<1>{version}",
            path.read_text(encoding="utf-8"),
            count=1,
            flags=re.MULTILINE,
        )
        if count != 1:
            raise ValueError(f"{name} has no version to set")
        path.write_text(changed, encoding="utf-8")
    changelog.write_text(text, encoding="utf-8")


def main() -> int:
    """Release from a clean checkout; the first step that fails ends it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version")
    version = parser.parse_args().version

    def run(*command: str) -> None:
        print("+", " ".join(command), flush=True)
        subprocess.run(command, cwd=ROOT, check=True)

    missing = [name for name in ("build", "twine") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"not installed: {', '.join(missing)}; pip install -e '.[dev]'", file=sys.stderr)
        return 2
    if subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, check=True).stdout:
        print("the checkout has changes: commit or stash them first", file=sys.stderr)
        return 2
    try:
        set_version(ROOT, version, datetime.now(timezone.utc).date().isoformat())
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        run(sys.executable, "-m", "build")
        run(sys.executable, "-m", "twine", "check", "--strict", *map(str, sorted((ROOT / "dist").iterdir())))
        run("git", "commit", "-qam", f"Release {version}")
        run("git", "tag", "-a", f"v{version}", "-m", f"Release {version}")
    except (ValueError, subprocess.CalledProcessError) as error:
        print(f"not released: {error}; `git checkout .` takes the changes back", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
