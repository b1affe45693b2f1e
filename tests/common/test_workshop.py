"""The hidden folder beside a target: what a dead process left is put right, all else is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fiftyone_plugin.common.workshop import LOCK, Busy, Workshop, settle, workshop_path
from fiftyone_plugin.errors import UsageError


def fill(folder: Path, text: str = "x") -> Path:
    (folder / "masks").mkdir(parents=True)
    (folder / "masks" / "a.txt").write_text(text)
    return folder


def left_behind(target: Path, *names: str) -> Path:
    """What a killed process leaves: its lock is there, and nobody holds it."""
    folder = workshop_path(target)
    folder.mkdir()
    (folder / LOCK).touch()
    for name in names:
        fill(folder / name, name)
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("where", ["", "masks", "masks/a.txt"])
def test_the_old_content_is_put_back_for_any_reader(tmp_path, where):
    left_behind(tmp_path / "o", "old", "new")
    settle(tmp_path / "o" / where)
    assert (tmp_path / "o" / "masks" / "a.txt").read_text() == "old"
    assert names_in(tmp_path) == ["o"]


def test_a_target_that_is_there_stays(tmp_path):
    fill(tmp_path / "o", "done")
    left_behind(tmp_path / "o", "old", "new", "trash")
    settle(tmp_path / "o" / "masks")
    assert (tmp_path / "o" / "masks" / "a.txt").read_text() == "done"
    assert names_in(tmp_path) == ["o"]


def test_a_first_export_that_was_killed_leaves_nothing(tmp_path):
    left_behind(tmp_path / "o", "new")
    settle(tmp_path / "o")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("stranger", ["notes.txt", "old.txt", "New"])
def test_a_folder_that_holds_anything_else_is_a_persons(tmp_path, stranger):
    folder = left_behind(tmp_path / "o", "old")
    (folder / stranger).write_text("mine")
    settle(tmp_path / "o")
    assert names_in(folder) == sorted([LOCK, "old", stranger])
    with pytest.raises(UsageError, match="holds files of somebody else; move it away"):
        Workshop(tmp_path / "o").acquire()


def test_other_hidden_folders_are_left_alone(tmp_path):
    for name in (".pseudomask-0123456789abcdef.partial", ".o.12345678.partial", ".o.12345678.old"):
        fill(tmp_path / name)
    settle(tmp_path / "o")
    assert len(names_in(tmp_path)) == 3


def test_the_folder_of_a_living_process_is_left_alone(tmp_path):
    code = (
        "import sys; from pathlib import Path; from fiftyone_plugin.common.workshop import Workshop\n"
        "w = Workshop(Path(sys.argv[1])); w.acquire(); w.new.mkdir(); print('here', flush=True); input()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "o")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    try:
        assert process.stdout.readline() == "here\n"
        settle(tmp_path / "o")
        assert workshop_path(tmp_path / "o").is_dir()
        with pytest.raises(Busy):
            Workshop(tmp_path / "o").acquire()
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    settle(tmp_path / "o")
    assert names_in(tmp_path) == []


def test_one_at_a_time_and_again_afterwards(tmp_path):
    first, second = Workshop(tmp_path / "o"), Workshop(tmp_path / "o")
    first.acquire()
    with pytest.raises(Busy):
        second.acquire()
    first.close()
    second.acquire()
    second.close()
    assert names_in(tmp_path) == []


def test_many_at_once_never_share_it(tmp_path):
    """Each notes its coming and going; two inside at once would show in the order."""
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from fiftyone_plugin.common.workshop import Busy, Workshop\n"
        "log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "held = 0\n"
        "while held < 40:\n"
        "    w = Workshop(Path(sys.argv[1]))\n"
        "    try: w.acquire()\n"
        "    except Busy: continue\n"
        "    os.write(log, f'+{os.getpid()}\\n'.encode()); w.new.mkdir()\n"
        "    os.write(log, f'-{os.getpid()}\\n'.encode()); w.close(); held += 1\n"
    )
    (tmp_path / "root").mkdir()
    command = [sys.executable, "-c", code, str(tmp_path / "root" / "o"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command, cwd=Path(__file__).parents[2]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    lines = (tmp_path / "log").read_text().split()
    assert len(lines) == 240
    for come, go in zip(lines[::2], lines[1::2], strict=True):
        assert (come[0], go[0], come[1:]) == ("+", "-", go[1:])
    assert names_in(tmp_path / "root") == []


def test_links_are_followed_to_what_they_lead_to(tmp_path):
    fill(tmp_path / "real" / "o")
    try:
        os.symlink(tmp_path / "real" / "o", tmp_path / "link", target_is_directory=True)
    except OSError as error:
        pytest.skip(f"no links here: {error}")
    assert workshop_path(tmp_path / "link") == workshop_path(tmp_path / "real" / "o")
    assert workshop_path(tmp_path / "link").parent == (tmp_path / "real").resolve()
