"""The speed benchmark: arithmetic of its tables, what it sees of a process, and the images that it makes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks.photographs import make_photographs, photograph, size_of
from benchmarks.speed import Bare, Labelled, gpu_lines, growth, main, median_run, notes, ratios, time_rows
from benchmarks.watching import folder_bytes, watch

BARE = Bare(wall=0.5, cpu=1.0, compiled=0.25)
RUN = Labelled(10, 20.0, 30.0, {"sample": 2.0, "masks": 8.0}, 3 << 20, 5_000_000, 11)


def test_times_are_divided_by_images_by_the_whole_and_by_the_bare_pass():
    rows = {row[0]: row[1:] for row in time_rows(BARE, RUN)}
    assert list(rows)[:3] == ["label, whole process", "masks", "sample"]
    assert rows["label, whole process"] == ["20.0", "2000.0", "0.5", "100%", "4.00"]
    assert rows["masks"] == ["8.0", "800.0", "1.2", "40%", "1.60"]
    assert rows["start, end, between stages"][0] == "10.0"
    assert rows["bare forward pass"] == ["5.0", "500.0", "2.0", "25%", "1.00"]
    assert rows["bare forward pass, compiled"][-1] == "0.50"
    assert len(time_rows(Bare(0.5, 1.0), RUN)) == len(rows) - 1


def test_lines_below_the_table():
    assert notes(BARE, RUN) == (
        "CPU time 3.00 x bare, 1.10 forward passes an image, peak memory 3 MiB, disk beyond results 5 MB"
    )
    assert ratios([(BARE, RUN)]) == "4.00 (CPU time 3.00)"
    larger = Labelled(100, 60.0, 90.0, {"masks": 25.0}, 4 << 20, 2_000_000_000, 110)
    assert growth([RUN, larger]) == "peak memory, 10 -> 100 images: +33.3%"
    values = [value for _, value in gpu_lines(RUN, BARE, larger)]
    assert values == ["2", "4", "2; compiled 4", "2.00 GB", "+33.3%"]


def test_figures_of_several_runs_are_medians_and_the_largest():
    runs = [Labelled(10, s, 2 * s, {"masks": s / 2}, int(s), int(10 - s), 11) for s in (1.0, 7.0, 2.0)]
    assert median_run(runs) == Labelled(10, 2.0, 4.0, {"masks": 1.0}, 7, 9, 11)


def test_photographs_are_distinct_and_the_same_again(tmp_path):
    make_photographs(tmp_path / "a", 8, 0.03, seed=1)
    make_photographs(tmp_path / "b", 8, 0.03, seed=1)
    files = sorted((tmp_path / "a").iterdir())
    contents = [file.read_bytes() for file in files]
    assert len(set(contents)) == len(files) == 8
    assert contents == [(tmp_path / "b" / file.name).read_bytes() for file in files]
    with Image.open(files[0]) as image:
        assert image.size == size_of(0.03)
    assert np.asarray(photograph(3, (64, 48))).std() > 10  # something is to be seen


@pytest.mark.parametrize(("megapixels", "size"), [(0.3, (640, 480)), (12, (4000, 3000))])
def test_sizes_are_those_of_cameras(megapixels, size):
    assert size_of(megapixels) == size


def test_a_process_is_watched_with_its_children(tmp_path):
    child = (
        "import sys, time, pathlib; x = bytearray(b'x') * (60 << 20); f = pathlib.Path(sys.argv[1], 'f')\n"
        "f.write_bytes(bytes(1000)); time.sleep(3); f.unlink()"
    )
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, sys.argv[1]], check=True)"
    )
    seen = watch([sys.executable, "-c", parent, str(tmp_path)], [tmp_path, tmp_path / "nothing"])
    assert seen.memory > 60 << 20
    assert seen.disk == 1000
    assert folder_bytes(tmp_path) == 0
    assert seen.cpu > 0
    assert seen.seconds > 3
    with pytest.raises(subprocess.CalledProcessError):
        watch([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_command_makes_images_and_prints_a_table(tiny_weights, capsys):
    settings = ["--size", "96", "--classes", "2", "--preset", "fast", "--device", "cpu", "--jobs", "1"]
    assert main(["--photos", "6", "8", "--megapixels", "0.03", "--backbone", tiny_weights, *settings]) == 0
    out = capsys.readouterr().out
    assert "mosaic, fast: 6 images" in out
    assert "masks" in out
    assert "bare forward pass" in out
    assert "peak memory, 6 -> 8 images" in out
