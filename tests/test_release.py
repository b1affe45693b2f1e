"""One version in every place, and a release that sets it there."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from fiftyone_plugin._version import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def release():
    spec = importlib.util.spec_from_file_location("release", ROOT / "scripts" / "release.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(release, tmp_path):
    for name in (*release.PLACES, "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def versions(root, release):
    return {
        re.search(f'{before}(.*?)"?$', (root / name).read_text(encoding="utf-8"), re.MULTILINE)[1]
        for name, before in release.PLACES.items()
    }


def test_the_version_is_the_same_everywhere(release):
    assert versions(ROOT, release) == {__version__}
    assert f"## [{__version__}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_a_release_sets_it(release, checkout):
    log = checkout / "CHANGELOG.md"
    log.write_text(
        re.sub(r"^## \[.*", "## [1.2.3] - unreleased", log.read_text(), count=1, flags=re.MULTILINE)
    )
    release.set_version(checkout, "1.2.3", "2030-01-02")
    assert versions(checkout, release) == {"1.2.3"}
    assert "## [1.2.3] - 2030-01-02\n" in log.read_text()


@pytest.mark.parametrize("version", ["1.2", "v1.2.3", "9.9.9"])
def test_what_is_no_version_or_has_no_changes_is_refused(release, checkout, version):
    before = {path: path.read_bytes() for path in checkout.rglob("*.*") if path.is_file()}
    with pytest.raises(ValueError, match=r"no version|no section"):
        release.set_version(checkout, version, "2030-01-02")
    assert before == {path: path.read_bytes() for path in before}
