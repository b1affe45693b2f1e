"""A finished run that another one replaces: removed when that one is finished, whatever happens meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.images.listing import ImageItem
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.record import RunDocument

from .run_helpers import FAULTS, REPOSITORY, SETTINGS, add, complete, files, opened


def restarted(root: Path, name: str = "c") -> None:
    """A run of one image in the place of the one that is there."""
    directory = opened(root, restart=True)
    row = add(directory, name)
    directory.write_samples([row])
    directory.write_run(RunDocument(SETTINGS, status="complete"))
    directory.finish()


def contents(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in files(root) if not name.startswith(".work/")}


def test_restart_removes_only_what_the_run_wrote(tmp_path):
    complete(tmp_path)
    foreign = ["notes.txt", "masks/theirs.png", "masks/sub/theirs.png", "model/readme.md"]
    for name in foreign:
        (tmp_path / name).write_text("precious")
    restarted(tmp_path)
    assert files(tmp_path) == {*foreign, "run.json", "samples.csv", "masks/c.png"}
    assert not (tmp_path / ".work").exists()
    RunDirectory(tmp_path).remove_outputs()
    RunDirectory(tmp_path).remove_if_empty()
    assert files(tmp_path) == set(foreign)


def test_a_finished_run_stays_until_the_new_one_is_finished(tmp_path):
    complete(tmp_path)
    before = contents(tmp_path)
    directory = opened(tmp_path, restart=True)
    first = directory.read_run().run_id
    add(directory, "c")
    directory.close()
    assert contents(tmp_path) == before
    with pytest.raises(UsageError, match="an unfinished one that is to replace it; use --resume"):
        opened(tmp_path)
    again = opened(tmp_path, resume=True)
    assert again.root == directory.root
    assert again.run_id == first
    assert [row.image for row in again.finished()] == ["c.jpg"]
    again.close()
    anew = opened(tmp_path, restart=True)
    assert list(anew.finished()) == []
    assert anew.run_id != first
    anew.close()
    assert contents(tmp_path) == before


def test_a_new_run_never_takes_the_place_of_a_persons_file(tmp_path):
    complete(tmp_path)
    (tmp_path / "masks" / "mine.png").write_text("precious")
    directory = RunDirectory(tmp_path)
    items = [ImageItem("mine.jpg", "/photos/mine.jpg", "mine.png")]
    with pytest.raises(UsageError, match=r"mine\.png was not written by a run"):
        directory.open(SETTINGS, resume=False, restart=True, items=items)
    assert (tmp_path / "masks" / "mine.png").read_text() == "precious"


def test_a_persons_own_files_in_the_working_folder_stay(tmp_path):
    (tmp_path / ".work").mkdir()
    (tmp_path / ".work" / "mine.txt").write_text("precious")
    complete(tmp_path)
    restarted(tmp_path)
    RunDirectory(tmp_path).remove_outputs()
    RunDirectory(tmp_path).remove_if_empty()
    assert files(tmp_path) == {".work/mine.txt"}


@pytest.mark.parametrize("name", [".work", ".work/next"])
def test_links_in_place_of_working_folders_are_not_followed(tmp_path, name):
    complete(tmp_path / "run")
    precious = tmp_path / "precious"
    complete(precious)
    before = contents(precious)
    (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "run" / name).symlink_to(precious)
    (tmp_path / "run" / ".work" / "exchange.json").write_text('{"step": "moving the new run"}')
    with pytest.raises(UsageError, match="is a link"):
        opened(tmp_path / "run", restart=True)
    (precious / "exchange.json").unlink(missing_ok=True)
    assert contents(precious) == before


@pytest.fixture
def exchange(tmp_path):
    """``exchange(number)`` kills the exchange at its n-th change to the disk: exit code, folder."""
    code = tmp_path / "code.py"
    code.write_text(
        "from pathlib import Path\nfrom fiftyone_plugin.runs.folder import RunDirectory\n"
        f"directory = RunDirectory(Path('run'))\n"
        f"directory.open({SETTINGS!r}, resume=True, restart=False).finish()\n"
    )
    complete(tmp_path / "old")
    directory = opened(tmp_path / "old", restart=True)
    row = add(directory, "c")
    directory.write_samples([row])
    directory.write_run(RunDocument(SETTINGS, status="complete"))
    directory.close()

    def kill(number: int) -> tuple[int, Path]:
        run = tmp_path / str(number) / "run"
        shutil.copytree(tmp_path / "old", run)
        done = subprocess.run(
            [sys.executable, FAULTS, "kill", str(number), str(run), str(tmp_path / "count"), str(code)],
            cwd=run.parent, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode in (0, -9), done.stderr
        return done.returncode, run

    return kill


def check_exchange(run: Path) -> None:
    """Whoever reads the run finds one, and who opens it finds the new one alone."""
    assert RunDirectory(run).read_run() is not None
    opened(run, resume=True).close()
    assert files(run) == {"run.json", "samples.csv", "masks/c.png"}


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
@pytest.mark.parametrize("_time", range(4))
def test_an_exchange_goes_on_from_where_it_was_killed(exchange, _time):
    number = random.SystemRandom().randrange(1, 30)  # drawn here: side by side, processes have the same tests
    print(f"killed at operation {number}")
    code, run = exchange(number)
    assert code == -9
    check_exchange(run)


@pytest.mark.soak
def test_an_exchange_goes_on_from_wherever_it_was_killed(exchange):
    number, code = 0, -9
    while code:
        number += 1
        code, run = exchange(number)
        check_exchange(run)
    assert number > 30


def test_an_interrupted_restart_can_be_restarted(tmp_path, monkeypatch):
    directory = opened(tmp_path)
    for name in ("a", "b", "sub/c", "d", "e"):
        add(directory, name)
    directory.close()
    real, calls = os.unlink, []

    def die_half_way(path, *args, **options):
        if len(calls) == 4:
            raise KeyboardInterrupt
        calls.append(path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "unlink", die_half_way)
    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path, restart=True)
    monkeypatch.undo()
    opened(tmp_path, restart=True).close()
    assert files(tmp_path) - {".work/lock"} == {"run.json"}
