"""What is written for Windows and macOS and can be tried here: names, locks, processes that are spawned."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from PIL import Image

from fiftyone_plugin.images.naming import mask_names

# --- names -----------------------------------------------------------------------------------------


def test_masks_get_names_that_windows_can_write():
    keys = [
        "aux.jpg",
        "a/NUL.tar.png",
        "8:30?.jpg",
        "8_30_.jpg",
        "com1/x.jpg",
        "lpt.jpg",
        "dot./b.jpg",
        "com¹.jpg",
    ]
    names = mask_names(keys, windows=True)
    assert names[0] == "_aux.png"
    assert names[1] == "a/_NUL.tar.png"
    assert names[4:] == ["_com1/x.png", "lpt.png", "dot_/b.png", "_com¹.png"]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        parts = PureWindowsPath(name)
        assert not parts.drive
        assert not parts.is_reserved()
        assert not any(part.endswith((".", " ")) or set(part) & set('<>:"|?*') for part in parts.parts)


def test_other_systems_keep_the_names_of_the_images():
    assert mask_names(["aux.jpg", "8:30.jpg"], windows=False) == ["aux.png", "8:30.png"]


def test_names_that_differ_in_case_alone_are_told_apart_everywhere():
    for windows in (False, True):
        names = mask_names(["A.jpg", "a.jpg", "\u00e9.jpg", "e\u0301.jpg"], windows=windows)
        assert len({name.casefold() for name in names}) == 4


# --- locks -----------------------------------------------------------------------------------------

# as Microsoft describes msvcrt.locking, by the record locks of POSIX: they belong to a process, and the byte
# is that at the file's position
MSVCRT = textwrap.dedent("""
    import errno, fcntl, sys, types
    def locking(descriptor, mode, count):
        assert mode == msvcrt.LK_NBLCK and count == 1
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0, 1)
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.LK_NBLCK, msvcrt.locking = 2, locking
    sys.modules["msvcrt"] = msvcrt
    from fiftyone_plugin.common import locks
    locks.fcntl = None
""")


@pytest.mark.skipif(os.name == "nt", reason="there the real one is used")
def test_locks_without_fcntl_hold_between_processes(tmp_path):
    code = MSVCRT + textwrap.dedent("""
        from pathlib import Path
        path = Path(sys.argv[1])
        if sys.argv[2] == "hold":
            with locks.hold(path):
                print("held", flush=True)
                sys.stdin.readline()
        else:
            asked = locks.is_held(path)
            try:
                locks.FileLock(path).acquire()
            except locks.Busy:
                print(asked, "busy")
            else:
                print(asked, "free")
    """)
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    ask = lambda: subprocess.run([*command, "ask"], capture_output=True, text=True, check=True).stdout.split()  # noqa: E731
    holder = subprocess.Popen([*command, "hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        assert ask() == ["True", "busy"]
    finally:
        holder.communicate("\n", timeout=60)
    assert ask() == ["False", "free"]


# --- processes -------------------------------------------------------------------------------------

SPAWN = """
import sys
from pathlib import Path
from joblib.externals.loky.backend.context import set_start_method

if __name__ == "__main__":
    set_start_method("spawn")
    from fiftyone_plugin import export
    export(sys.argv[1], out=sys.argv[2], jobs=int(sys.argv[3]), images="reference", instances=True)
"""


def test_workers_that_are_spawned_give_the_same_bytes(tmp_path):
    """As on macOS and Windows: everything that workers need is pickled, and nothing inherited."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(100):  # as many as workers are started for
        mask = rng.integers(0, 3, (6, 8), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"{number}.png")
        Image.fromarray(mask * 90).save(tmp_path / "data" / "images" / f"{number}.png")
    script = tmp_path / "script.py"
    script.write_text(SPAWN)
    for jobs in ("1", "2"):
        command = [sys.executable, str(script), str(tmp_path / "data"), str(tmp_path / jobs), jobs]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        assert done.returncode == 0, done.stderr
    one, two = ((tmp_path / jobs / "annotations" / "instances.json").read_bytes() for jobs in "12")
    assert one == two
