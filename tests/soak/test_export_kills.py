"""Exports and imports over an earlier one that end at any file operation: killed, or on a full disk."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fiftyone_plugin
from fiftyone_plugin.common import exchange as exchanging
from fiftyone_plugin.common.workshop import settle
from fiftyone_plugin.formats import export
from fiftyone_plugin.formats.importing import read_masks

pytestmark = pytest.mark.slow

REPOSITORY = Path(fiftyone_plugin.__file__).parents[1]
FAULTS = Path(__file__).with_name("faults.py")
COMMANDS = {
    "coco-instances": ["export", "SOURCE", "--out", "o", "--format", "coco-instances"],
    "yolo": ["export", "SOURCE", "--out", "o", "--format", "yolo"],
    "masks": ["export", "SOURCE", "--out", "o", "--format", "masks"],
    "import": ["import", "SOURCE", "--out", "o"],
}
SAMPLE = 2  # operations of each that every run of the tests tries
needs_kill = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def make_source(folder: Path, value: int) -> Path:
    for i in range(2):
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 7), (value, 0, 0)).save(folder / "images" / f"{i}.png")
        Image.fromarray(np.full((7, 9), value, np.uint8)).save(folder / "masks" / f"{i}.png")
    (folder / "classes.json").write_text(json.dumps({"1": "sky", "2": "sea"}))
    return folder


class Target:
    """A source, and in ``o`` an export or import of what it held before."""

    def __init__(self, root: Path, kind: str, *, fallback: bool = False) -> None:
        self.root = root
        source = str(root / "source")  # the record of an import names it
        command = [source if word == "SOURCE" else word for word in COMMANDS[kind]]
        self.arguments = [*command, "--overwrite", "-q"]
        self.out = root / "o"
        self.code = root / "code.py"
        patch = "exchange._renameat2 = lambda: None\n" if fallback else ""
        self.code.write_text(
            f"import sys\nfrom fiftyone_plugin.common import exchange\n{patch}"
            f"from fiftyone_plugin.cli.main import main\nsys.exit(main({self.arguments!r}))\n"
        )
        self.old = self._make(kind, 1, self.out)
        self.new = self._make(kind, 2, root / "fresh")
        shutil.rmtree(root / "fresh")
        assert self.old != self.new

    def _make(self, kind: str, value: int, out: Path) -> dict[str, bytes]:
        """Return what the command makes of masks of this value."""
        source = make_source(self.root / "source", value)
        if kind == "import":
            read_masks(source, out)
        else:
            export(source, out=out, format=kind)
        return content(out)

    def run(self, event: str, number: int) -> tuple[subprocess.CompletedProcess[str], int]:
        """Run the command with a fault at an operation; return how it ended and how many there were."""
        count = self.root.parent / f"{self.root.name}.count"
        # removals name files relative to an open folder: the working folder is the one that counts them
        done = subprocess.run(
            [sys.executable, str(FAULTS), event, str(number), str(self.root), str(count), str(self.code)],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        lines = count.read_text().split()
        return done, int(lines[-1]) if lines else 0

    def check_whole(self, where: str) -> None:
        """One of the two is in its place, as a reader finds it, and nothing else is left."""
        settle(self.out)
        assert content(self.out) in (self.old, self.new), where
        names = sorted(p.name for p in self.root.iterdir())
        assert names == ["code.py", "o", "source"], where


def operations(target: Target) -> int:
    done, count = target.run("kill", 0)
    assert done.returncode == 0, done.stderr
    assert content(target.out) == target.new
    assert count > 10
    return count


def check_kills(root: Path, kind: str, *, fallback: bool, limit: int | None) -> None:
    root.mkdir()
    target = Target(root, kind, fallback=fallback)
    numbers = list(range(1, operations(target) + 1))
    chosen = numbers if limit is None else sorted(random.Random().sample(numbers, limit))
    for number in chosen:
        done, _ = target.run("kill", number)
        assert done.returncode == -9, (number, done.stderr)
        target.check_whole(f"killed at operation {number} of {len(numbers)}")


def check_full_disk(root: Path, kind: str, *, limit: int | None) -> None:
    root.mkdir()
    target = Target(root, kind)
    numbers = list(range(1, operations(target) + 1))
    chosen = numbers if limit is None else sorted(random.Random().sample(numbers, limit))
    for number in chosen:
        before = content(target.out)
        done, _ = target.run("enospc", number)
        where = f"disk full at operation {number} of {len(numbers)}: {done.stderr}"
        if done.returncode == 2:
            assert len(done.stderr.strip().splitlines()) == 1, where
            assert "No space left on device" in done.stderr, where
            assert content(target.out) == before, where
        else:  # only what an export removes at its end could not be removed
            assert done.returncode == 0, where
            assert content(target.out) == target.new, where
        target.check_whole(where)


@needs_kill
@pytest.mark.parametrize("fallback", [False, True], ids=["exchange", "two renames"])
@pytest.mark.parametrize("kind", COMMANDS)
def test_killed_at_some_operations(tmp_path, kind, fallback):
    check_kills(tmp_path / "root", kind, fallback=fallback, limit=SAMPLE)


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_full_disk_at_some_operations(tmp_path, kind):
    check_full_disk(tmp_path / "root", kind, limit=SAMPLE)


@needs_kill
@pytest.mark.soak
@pytest.mark.parametrize("fallback", [False, True], ids=["exchange", "two renames"])
@pytest.mark.parametrize("kind", COMMANDS)
def test_killed_at_every_operation(tmp_path, kind, fallback):
    check_kills(tmp_path / "root", kind, fallback=fallback, limit=None)


@pytest.mark.soak
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_full_disk_at_every_operation(tmp_path, kind):
    check_full_disk(tmp_path / "root", kind, limit=None)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="renameat2 is Linux's")
def test_linux_exchanges_two_folders_at_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    if not exchanging.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange")
    assert (tmp_path / "a" / "b").read_text() == "b"
    assert (tmp_path / "b" / "a").read_text() == "a"
    with pytest.raises(FileNotFoundError):
        exchanging.exchange(tmp_path / "a", tmp_path / "nothing")
