"""The commands label and demo: exit codes, messages, Ctrl-C, two at once."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from fiftyone_plugin.cli.main import main

pytestmark = pytest.mark.slow

LINES = re.compile(r"[\r\n]+")

# Python ends itself with the signal where the interrupt met code that was compiled from text, e.g. of a
# dataclass; a shell shows 130 for both.
INTERRUPTED = (130, -signal.SIGINT)


@pytest.fixture(scope="module")
def images(photos, tmp_path_factory) -> Path:
    """Four pictures large enough for every stage to take a while, and a broken one."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("chelsea", "coffee"):
        with Image.open(photos / f"{name}.jpg") as photo:
            large = photo.resize((1500, 1125))
            large.save(folder / f"{name}.jpg", quality=80)
            large.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / f"{name}-flipped.jpg", quality=80)
    (folder / "broken.jpg").write_bytes((folder / "coffee.jpg").read_bytes()[:5000])
    return folder


@pytest.fixture(scope="module")
def options(tiny_weights) -> list[str]:
    return ["--backbone", tiny_weights, "--size", "96", "--classes", "3", "--jobs", "1"]


def masks_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "masks").glob("*.png"))}


@pytest.fixture(scope="module")
def finished(images, options, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main(["label", str(images), "--out", str(out), "--quiet", *options]) == 0
    return out


# --- what it says and returns ---------------------------------------------------------------------


def test_a_run(images, options, tmp_path, capfd, finished):
    out = tmp_path / "run"
    assert main(["label", str(images), "--out", str(out), *options]) == 0
    printed, err = capfd.readouterr()
    assert "4 images labelled, 1 skipped" in printed
    for name in ("masks", "samples.csv", "contact_sheet.png"):
        assert str(out / name) in printed
    assert re.search(r"skipped broken.jpg: \S+", err)
    for stage in ("load backbone", "sample", "regions", "masks"):
        assert re.search(rf"{stage} +: 100%.*<00:00", err), stage
    assert "Traceback" not in err
    assert masks_of(out) == masks_of(finished)
    with (out / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    assert set(rows[0]) >= {"image", "status", "classes", "coverage", "seconds", "error"}


def test_quiet_and_strict(images, options, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["label", str(images), "--out", str(out), "--quiet", "--strict", *options]) == 3
    printed, err = capfd.readouterr()
    assert printed == ""
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("skipped broken.jpg: ")


def test_strict_without_bad_images(images, options, tmp_path, capfd):
    command = ["label", str(images / "*a.jpg"), "--out", str(tmp_path / "run"), "-q", "--strict", *options]
    assert main([*command, "--classes", "1"]) == 0
    assert capfd.readouterr() == ("", "")
    assert sorted(masks_of(tmp_path / "run")) == ["chelsea.png"]


def test_lists_globs_and_models(images, options, tmp_path, finished, capfd):
    (tmp_path / "list.txt").write_text(f"{images}/chelsea.jpg\n# a comment\n{images}/coffee.jpg\n")
    model = ["--model", str(finished / "model"), "--jobs", "1", "-q"]
    for spec in (str(tmp_path / "list.txt"), str(images / "[ac]o*.jpg"), str(images / "coffee.jpg")):
        out = tmp_path / str(abs(hash(spec)))
        assert main(["label", spec, "--out", str(out), *model]) == 0
        expected = masks_of(finished)
        assert masks_of(out).items() <= expected.items()
        assert masks_of(out)


def test_a_model_is_cut_into_other_classes(images, options, tmp_path, capfd):
    # 36 patches of a network with random weights have few of the second class, which spreading takes away
    finished = tmp_path / "finished"
    assert main(["label", str(images), "--out", str(finished), "-q", *options, "--set", "spread=false"]) == 0
    model = ["--model", str(finished / "model"), "--jobs", "1", "-q"]
    for k in (2, 3):
        assert main(["label", str(images), "--out", str(tmp_path / f"{k}"), *model, "--recut", str(k)]) == 0
    assert masks_of(tmp_path / "3") == masks_of(finished)
    run = json.loads((tmp_path / "2" / "run.json").read_text())
    assert list(run["classes"]) == ["1", "2"]
    assert "sample" not in run["seconds"]  # nothing was fitted
    found = {value for row in read_rows(tmp_path / "2") for value in row["classes"].split()}
    assert found == {"1", "2"}
    capfd.readouterr()
    again = ["label", str(images), "--out", str(tmp_path / "again"), *model, "--recut", "400"]
    assert main(again) == 2
    assert "can be cut into 1 to" in capfd.readouterr().err


def read_rows(out: Path) -> list[dict[str, str]]:
    with (out / "samples.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{images}"], "--out"),
        (["{images}", "--out", "{out}", "--recut", "3"], "name its folder"),
        (["--out", "{out}"], "IMAGES"),
        (["{images}/nothing", "--out", "{out}"], "no such file or folder"),
        (["{images}/*.tiff", "--out", "{out}"], "no images in"),
        (["{out}", "--out", "{out}"], "no such file or folder"),
        (["{images}", "--out", "{images}/coffee.jpg"], "cannot write to"),
        (["{images}", "--out", "{out}", "--resume", "--overwrite"], "not allowed with"),
        (["{images}", "--out", "{out}", "--size", "big"], "--size"),
        (["{images}", "--out", "{out}", "--size", "3"], "size must be"),
        (["{images}", "--out", "{out}", "--classes", "0"], "classes must be"),
        (["{images}", "--out", "{out}", "--method", "magic"], "unknown method"),
        (["{images}", "--out", "{out}", "--refine", "blur"], "--refine"),
        (["{images}", "--out", "{out}", "--backbone", "{images}/coffee.jpg"], "not a readable checkpoint"),
        (["{images}", "--out", "{out}", "--backbone", "resnet"], "unknown backbone"),
        (["{images}", "--out", "{out}", "--model", "{images}"], "not the model folder"),
        (["{images}", "--out", "{out}", "--cache-limit", "nan"], "not a size in GiB"),
        (["{images}", "--out", "{out}", "--cache-limit", "inf"], "not a size in GiB"),
        (["{images}", "--out", "{out}", "--cache-limit", "-1"], "cache_limit must be"),
        (["{images}", "--out", "{out}", "--set", "layer"], "takes OPTION=VALUE"),
        (
            ["{images}", "--out", "{out}", "--method", "lightcluster", "--set", "border_ratio=much"],
            "border_ratio must be a number",
        ),
        (
            ["{images}", "--out", "{out}", "--method", "lightcluster", "--set", "layer=" + "[" * 100_000],
            "unknown layer",
        ),
        (["{images}", "--out", "{out}", "--set", "random_state=3"], "there is a setting for it"),
        (["{images}", "--out", "{out}", "--field", "mask"], "--field needs"),
        (["{images}/broken.jpg", "--out", "{out}"], "none of the 1 images could be read"),
    ],
    ids=lambda value: " ".join(value)[:90],
)
def test_usage_errors_are_one_line_and_exit_code_2(images, options, tmp_path, capfd, arguments, message):
    filled = [argument.format(images=images, out=tmp_path / "run") for argument in arguments]
    extra = [] if "--backbone" in filled else options[:2]
    try:
        code = main(["label", *filled, *extra, "-q"])
    except SystemExit as error:  # argparse's own
        code = error.code
    printed, err = capfd.readouterr()
    assert code == 2
    assert printed == ""
    assert message in err
    assert "Traceback" not in err
    assert (
        len([line for line in err.splitlines() if "error: " in line or line.startswith("pseudomask: ")]) == 1
    )


def test_a_cache_that_cannot_be_written(backbone, images, options, tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "file"))
    for named in ([*options, "--cache"], ["--backbone", "offline-vits14", "--cache"]):
        assert main(["label", str(images), "--out", str(tmp_path / "run"), "-q", *named]) == 2
        err = capfd.readouterr().err
        assert "PSEUDOMASK_CACHE" in err
        assert "Traceback" not in err
        assert not (tmp_path / "run").exists()
    assert main(["label", str(images), "--out", str(tmp_path / "run"), "-q", "--no-cache", *options]) == 0


def test_options_of_the_method(images, options, tmp_path):
    out = tmp_path / "run"
    command = ["label", str(images / "c*a.jpg"), "--out", str(out), "-q", *options]
    options = ["--set", "layer=out", "--set", "n_init=2", "--set", "center=true"]
    assert main([*command, "--method", "lightcluster", *options]) == 0
    found = json.loads((out / "run.json").read_text())["settings"]["method_config"]
    assert (found["layer"], found["n_init"], found["center"]) == ("out", 2, True)


def test_taken_folders(images, options, finished, capfd):
    before = masks_of(finished)
    command = ["label", str(images), "--out", str(finished), "-q", *options]
    assert main(command) == 2
    assert "--overwrite to replace it" in capfd.readouterr().err
    assert main([*command, "--resume", "--seed", "7"]) == 2
    assert "seed was 0, now 7" in capfd.readouterr().err
    assert masks_of(finished) == before
    assert main([*command, "--resume"]) == 0
    assert masks_of(finished) == before


def test_the_stand_in_is_named_on_stderr(backbone, images, tmp_path, capfd):
    """Without a hub the default backbone is not the one the results come from, also in quiet mode."""
    code = main(["label", str(images / "coffee.jpg"), "--out", str(tmp_path / "run"), "--size", "98", "-q"])
    printed, err = capfd.readouterr()
    assert code == 0
    assert printed == ""
    assert "fine-tuned for saliency" in err


# --- processes ------------------------------------------------------------------------------------


def start(command: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen:
    """The command in a process group of its own, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-m", "fiftyone_plugin", "label", *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def read_until(process: subprocess.Popen, pattern: str) -> str:
    text = b""
    while not re.search(pattern.encode(), text):
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, f"ended before {pattern}: {text.decode()}"
        text += piece
    return text.decode()


@pytest.mark.parametrize(
    ("pattern", "jobs"),
    [("sample +:.* 0/5", "1"), ("regions +:.* 0/5", "2")],
    ids=["sample", "regions"],
)
def test_ctrl_c_leaves_what_resume_completes(images, options, finished, tmp_path, pattern, jobs):
    """The signal goes to the whole process group, workers included, as from a terminal."""
    out = tmp_path / "run"
    command = [str(images), "--out", str(out), *options[:-1], jobs]
    process = start(command, {"PSEUDOMASK_CACHE": str(tmp_path / "cache")})
    seen = read_until(process, pattern)
    time.sleep(0.1)  # within the very call that draws the bar, the line that says so would not be a new one
    os.killpg(process.pid, signal.SIGINT)
    printed, rest = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED
    assert printed == b""
    lines = [
        line for line in LINES.split(seen + rest.decode()) if line and not re.search(r"\d+/\d+ \[", line)
    ]
    assert lines == ["pseudomask: interrupted; run the same command with --resume to go on"]
    assert len(masks_of(out)) < 4

    assert main(["label", *command[:-1], "1", "--resume", "-q"]) == 0
    assert masks_of(out) == masks_of(finished)
    assert (out / "samples.csv").read_text().count("labelled") == 4
    assert not (out / ".work").exists()


def test_ctrl_c_while_masks_are_written(images, options, tmp_path):
    """Sixteen names of one photograph: the first mask is written long before the last."""
    many = tmp_path / "many"
    many.mkdir()
    for i in range(16):
        os.link(images / "chelsea.jpg", many / f"{i:02}.jpg")
    assert main(["label", str(many), "--out", str(tmp_path / "whole"), "-q", *options]) == 0
    out = tmp_path / "run"
    command = [str(many), "--out", str(out), *options]
    process = start(command, {"PSEUDOMASK_CACHE": str(tmp_path / "cache")})
    read_until(process, "masks +:.* [1-9]/16")
    os.killpg(process.pid, signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode in INTERRUPTED
    assert rest.decode().count("pseudomask: interrupted; run the same command with --resume to go on") == 1
    assert b"Traceback" not in rest
    assert 0 < len(masks_of(out)) < 16
    assert main(["label", *command, "--resume", "-q"]) == 0
    assert masks_of(out) == masks_of(tmp_path / "whole")
    assert not (out / ".work").exists()


def test_killed_and_resumed(images, options, finished, tmp_path):
    out = tmp_path / "run"
    command = [str(images), "--out", str(out), *options]
    process = start(command, {"PSEUDOMASK_CACHE": str(tmp_path / "cache")})
    read_until(process, "masks +:.* [0-4]/5")
    os.killpg(process.pid, signal.SIGSTOP)  # it would end before the next command has begun
    # meanwhile a second process is refused
    assert main(["label", *command, "--resume", "-q"]) == 2
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert main(["label", *command, "--resume", "-q"]) == 0
    assert masks_of(out) == masks_of(finished)


def test_dry_run_says_what_it_would_take_and_writes_nothing(images, options, tmp_path, capsys, monkeypatch):
    from fiftyone_plugin.common.paths import CACHE_ENV

    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    arguments = ["label", str(images), "--out", str(tmp_path / "run"), *options, "--method", "lightcluster"]
    assert main([*arguments, "--dry-run"]) == 0
    guessed = capsys.readouterr().out
    assert guessed.startswith("5 images: about ")
    assert "a guess" in guessed
    assert main([*arguments[:-1], "mosaic", "--set", "tiles=3", "--dry-run"]) == 0
    assert "goes through the network 10 times" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


# --- sudden ends ----------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)])
def test_workers_end_with_the_command(images, options, tmp_path, number, code):
    """Killed, or asked to end as a scheduler does; what it left in memory and on the disk is tidied up."""
    import psutil

    command = [sys.executable, "-m", "fiftyone_plugin", "label", str(images), "--out", "run", "-q", *options]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = subprocess.Popen(
        [*command, "--jobs", "2", "--method", "lightcluster"],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    watched = psutil.Process(process.pid)
    children: list[psutil.Process] = []
    end = time.monotonic() + 120
    while len(children) < 3 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
        children = watched.children(recursive=True)
    assert len(children) >= 3, "two workers and what tidies up after them"
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    said = [line for line in err.splitlines() if line]
    assert said == (
        [] if code < 0 else ["pseudomask: interrupted; run the same command with --resume to go on"]
    )
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    shared = [Path("/dev/shm")] if Path("/dev/shm").is_dir() else []

    def left() -> list[str]:
        mine = [name for name in os.listdir(temporary) if "loky" in name or "joblib" in name]
        return mine + [path.name for folder in shared for path in folder.glob(f"*{process.pid}*")]

    # a worker that was only starting ends by itself, and the folder with it
    end = time.monotonic() + 60
    while left() and time.monotonic() < end:
        time.sleep(0.1)
    assert left() == []


def test_what_is_left_out_is_said(images, options, tmp_path, capfd):
    folder = tmp_path / "phone"
    folder.mkdir()
    for name in ("coffee.jpg", "chelsea.jpg"):
        (folder / name).write_bytes((images / name).read_bytes())
    for number in range(3):
        (folder / f"IMG_{number}.CR2").write_bytes(b"II*\0")
    command = ["label", str(folder), *options]
    assert main([*command, "--out", str(folder / "labels"), "--strict"]) == 3
    assert "left out: 3 .cr2 (such as IMG_0.CR2" in capfd.readouterr().err
    assert main([*command, "--out", str(folder / "again")]) == 0
    printed, err = capfd.readouterr()
    assert "2 images labelled" in printed
    assert "a folder that is the result of earlier runs, exports or imports (labels)" in err
    assert json.loads((folder / "again" / "run.json").read_text())["left_out"] == {
        "extensions": {".cr2": 3},
        "examples": ["IMG_0.CR2", "IMG_1.CR2", "IMG_2.CR2"],
        "folders": ["labels"],
    }
