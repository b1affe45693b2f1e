from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fiftyone_plugin.cli import cache
from fiftyone_plugin.common import paths
from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.features.store import FeatureStore, spec_hash

SMALL = {"backbone": "vit_small", "size": 448}
BASE = {"backbone": "vit_base", "size": 224}
ROOT = Path(__file__).parents[2]
SCRIPT = """
import argparse, sys
sys.path.insert(0, sys.argv.pop(1))
from fiftyone_plugin.cli import cache
from fiftyone_plugin.errors import UsageError
parser = argparse.ArgumentParser()
cache.add_parser(parser.add_subparsers())
try:
    sys.exit(cache.run(parser.parse_args()))
except UsageError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(folder) -> Path:
    for spec, images in ((SMALL, 3), (BASE, 2)):
        store = FeatureStore(folder, spec, None)
        for image in range(images):
            store.put(str(image), {"t9": np.zeros(50_000, np.uint8), "out": np.ones(1, np.uint8)})
    (folder / "weights").mkdir()
    (folder / "weights" / "offline.safetensors").write_bytes(bytes(2_000_000))
    return folder


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    cache.add_parser(parser.add_subparsers())
    return cache.run(parser.parse_args(["cache", *arguments]))


def test_info(filled, capsys):
    assert command("info") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"stored in {filled}"
    assert lines[1].split() == [
        "features",
        "backbone",
        "size",
        "images",
        "layers",
        "on",
        "disk",
        "last",
        "used",
    ]
    small = next(line for line in lines if "vit_small" in line)
    assert small.split()[:5] == [spec_hash(SMALL), "vit_small", "448", "3", "out,t9"]
    assert "converted weights offline.safetensors  2.0 MB" in lines
    assert lines[-1].startswith("total 2.")


def test_info_as_json(filled, capsys):
    assert command("info", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["cache"] == str(filled)
    by_backbone = {entry["backbone"]: entry for entry in document["features"]}
    assert by_backbone["vit_base"]["images"] == 2
    assert by_backbone["vit_base"]["parameters"] == BASE
    assert by_backbone["vit_small"]["layers"] == ["out", "t9"]
    assert document["weights"] == [{"name": "offline.safetensors", "bytes": 2_000_000}]
    assert document["bytes"] == sum(path.stat().st_size for path in filled.rglob("*") if path.is_file())


def test_nothing_stored(folder, capsys):
    assert command("info") == 0
    assert command("clear") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"nothing stored in {folder}",
        f"nothing to remove in {folder}",
    ]
    assert not folder.exists()


def test_clear_everything_but_weights(filled, capsys):
    before = sum(path.stat().st_size for path in (filled / "features").rglob("*") if path.is_file())
    assert command("clear", "--yes") == 0
    assert capsys.readouterr().out == f"removed the features of 2 specs: {cache.human_size(before)} freed\n"
    assert list((filled / "features").iterdir()) == []
    assert (filled / "weights" / "offline.safetensors").is_file()
    assert command("clear", "--weights", "--yes") == 0
    assert capsys.readouterr().out == "removed 1 converted weights: 2.0 MB freed\n"
    assert list((filled / "weights").iterdir()) == []


def test_clear_one_spec_by_the_beginning_of_its_hash(filled, capsys):
    assert command("clear", spec_hash(BASE)[:5], "--yes") == 0
    assert "removed the features of 1 spec:" in capsys.readouterr().out
    assert [path.name for path in (filled / "features").iterdir()] == [spec_hash(SMALL)]
    with pytest.raises(UsageError, match=f"no stored features begin with 'ffff'; stored: {spec_hash(SMALL)}"):
        command("clear", "ffff", "--yes")


def test_ambiguous_spec(filled):
    with pytest.raises(UsageError, match="several stored features"):
        command("clear", "", "--yes")
    assert len(list((filled / "features").iterdir())) == 2


def test_without_a_terminal_yes_is_needed(filled):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), "cache", "clear"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 2
    assert "pass --yes" in run.stderr
    assert len(list((filled / "features").iterdir())) == 2


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX terminal")
@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"no\n", 2), (b"\n", 2), (b"\x04", 2)])
def test_on_a_terminal_it_asks(filled, answer, left):
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(ROOT), "cache", "clear"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            os.write(ours, answer)
            output, _ = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 0
    assert "remove the features of 2 specs" in output
    assert ("freed" in output) == (left == 0)
    assert ("nothing removed" in output) == (left == 2)
    assert len(list((filled / "features").iterdir())) == left


def test_the_command_line_starts_light():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import fiftyone_plugin.cli.cache\n"
        "print(sorted({'numpy', 'torch', 'PIL', 'fiftyone', 'sklearn', 'sqlite3'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, timeout=60)
    assert run.stdout == "[]\n", run.stderr


def test_cache_dir(monkeypatch, tmp_path):
    for name in ("PSEUDOMASK_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = "fiftyone-pseudomask"
    monkeypatch.setattr(sys, "platform", "linux")
    assert paths.cache_dir() == tmp_path / ".cache" / folder
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
    assert paths.cache_dir() == tmp_path / ".cache" / folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_dir() == tmp_path / "xdg" / folder
    monkeypatch.setattr(sys, "platform", "darwin")
    assert paths.cache_dir() == tmp_path / "Library" / "Caches" / folder
    monkeypatch.setattr(sys, "platform", "win32")
    assert paths.cache_dir() == tmp_path / "AppData" / "Local" / folder
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert paths.cache_dir() == tmp_path / "local" / folder
    monkeypatch.setenv("PSEUDOMASK_CACHE", "here")
    assert paths.cache_dir() == tmp_path / "here"
    monkeypatch.setenv("PSEUDOMASK_CACHE", "~/there")
    assert paths.cache_dir() == tmp_path / "there"
    assert not any(tmp_path.iterdir())


def test_what_a_former_version_has_stored_is_shown_and_cleared(filled, capsys):
    folder = filled / "features" / spec_hash(BASE)
    (folder / "shards").mkdir()
    (folder / "shards" / "1-2-3.bin").write_bytes(bytes(3_000_000))
    (folder / "index.sqlite").write_bytes(bytes(100_000))
    assert command("info") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "vit_base" in line)
    assert "out,t9,3.1 MB of a former version" in line
    assert command("clear", "--yes") == 0
    assert not folder.exists()
