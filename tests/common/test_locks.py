"""Locks between processes: one holder at a time, whoever removes the file; asking disturbs nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading

import pytest

from fiftyone_plugin.common.locks import Busy, FileLock, hold, is_held

WORKER = textwrap.dedent("""
    import os, sys, time
    from pathlib import Path
    from fiftyone_plugin.common.locks import FileLock, Busy
    folder, holds, tidy = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "tidy"
    witness = folder / "witness"
    overlaps = waits = 0
    for _ in range(holds):
        lock = FileLock(folder / "work" / "lock")
        while True:
            try:
                lock.acquire(0.05)
                break
            except Busy:
                waits += 1
        try:
            os.close(os.open(witness, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            overlaps += 1
        time.sleep(0.0005)
        witness.unlink(missing_ok=True)
        lock.release(remove=tidy)
        if tidy:
            try:
                (folder / "work").rmdir()
            except OSError:
                pass
    print(overlaps)
""")


@pytest.mark.parametrize("tidy", ["tidy", "kept"])
def test_processes_hold_it_one_after_the_other(tmp_path, tidy):
    """Also where each removes the file, and its folder, when it is done."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path), "150", tidy],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    done = [worker.communicate(timeout=120) for worker in workers]
    assert [err for _, err in done] == [""] * 4
    assert [out.strip() for out, _ in done] == ["0"] * 4


def test_a_removed_file_is_no_lock(tmp_path):
    """Who waited for a file that its holder removed does not get in beside who made it anew."""
    first, second, third = (FileLock(tmp_path / "lock") for _ in range(3))
    first.acquire()
    entered = threading.Event()
    waiting = threading.Thread(target=lambda: (second.acquire(10), entered.set()))
    waiting.start()
    first.release(remove=True)
    waiting.join()
    assert entered.is_set()
    with pytest.raises(Busy):
        third.acquire()
    second.release()
    third.acquire()
    third.release()


def test_asking_neither_makes_nor_takes_it(tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    assert not is_held(tmp_path / "none" / "lock")
    assert list(tmp_path.iterdir()) == []
    with hold(path):
        assert is_held(path)
        assert is_held(path)
        with pytest.raises(Busy), hold(path, 0.1):
            pytest.fail("held twice")
    assert not is_held(path)
    with hold(path, remove=True):
        pass
    assert not path.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OSError, match="lock"), hold(tmp_path / "lock"):
            pytest.fail("held")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"), hold(tmp_path / "file" / "lock"):
        pytest.fail("held")
    with pytest.raises(OSError, match="file"), hold(tmp_path / "file" / "below" / "lock"):
        pytest.fail("held")
