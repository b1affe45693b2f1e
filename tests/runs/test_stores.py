"""Runs from a store into a store: the bytes of a run on the disk, whatever the store does meanwhile."""

from __future__ import annotations

import gc
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest

from fiftyone_plugin import join, label, label_dataset
from fiftyone_plugin.cli.main import main
from fiftyone_plugin.common import remote
from fiftyone_plugin.common.progress import CallbackProgress
from fiftyone_plugin.errors import PseudoMaskError, UsageError
from fiftyone_plugin.runs import spool
from fiftyone_plugin.runs.spool import SpooledDirectory
from tests.stores import Store

from .run_helpers import add_bad, files, interrupt, masks_of

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)


@pytest.fixture(scope="module")
def images(few, store: Store, tmp_path_factory) -> Path:
    """The photographs, three of them broken, on the disk and at s3://data/in put."""
    folder = tmp_path_factory.mktemp("images") / "in"
    shutil.copytree(few, folder)
    (folder / "chelsea.jpg").rename(folder / "ü & 1%.jpg")
    add_bad(folder, folder / "astronaut.jpg")
    store.put_folder(folder, "in put")
    return folder


@pytest.fixture(scope="module")
def local(images, settings, tmp_path_factory):
    return label(images, out=tmp_path_factory.mktemp("local") / "run", **settings)


def spools() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("pseudomask-spool-*")}


def same_masks(store: Store, prefix: str, local) -> bool:
    masks = {name: store.get(f"{prefix}/masks/{name}") for name in store.keys(f"{prefix}/masks")}
    return masks == masks_of(local.out)


def test_a_run_in_a_store_is_the_run_on_the_disk(store, images, local, settings):
    before = spools()
    result = label("s3://data/in put", out="s3://data/run", **settings)
    assert spools() == before
    assert set(store.keys("run")) == files(local.out)
    for name in files(local.out) - {"run.json", "samples.csv", "contact_sheet.png"}:
        assert store.get(f"run/{name}") == (local.out / name).read_bytes(), name
    for ours, theirs in zip(result.samples, local.samples, strict=True):
        alike = {"image", "mask", "status", "classes", "shares", "qualities", "quality", "error"}
        assert {name: getattr(ours, name) for name in alike} == {
            name: getattr(theirs, name) for name in alike
        }
    record = json.loads(store.get("run/run.json"))
    assert record["images_root"] == "s3://data/in put/"
    assert record["counts"] == local.run["counts"]
    assert str(result.out) == "s3://data/run"
    for row in result.labelled:
        assert np.array_equal(result.mask(row), local.mask(row.image))
    again = label("s3://data/in put", out="s3://data/run", resume=True, **settings)
    assert again.run == result.run
    with pytest.raises(UsageError, match="s3://data/run holds a finished run; use --overwrite"):
        label("s3://data/in put", out="s3://data/run", **settings)


def test_a_model_and_the_command(store, images, local, settings, tmp_path, capsys):
    store.put_folder(local.out / "model", "fit/model")
    options = ["--backbone", settings["backbone"], "--jobs", "1", "--device", "cpu"]
    args = ["label", "s3://data/in put", "--model", "s3://data/fit/model", *options]
    assert main([*args, "--out", "s3://data/cli", "--shard", "1/2"]) == 0
    assert "masks:         s3://data/cli/masks" in capsys.readouterr().out
    assert main([*args, "--out", str(tmp_path / "here"), "-q"]) == 0
    assert masks_of(tmp_path / "here") == masks_of(local.out)
    assert main(["label", "s3://data/in put", "--model", "s3://data/none/model", "--out", "s3://data/x"]) == 2
    assert "s3://data/none/model is not the model folder of a run" in capsys.readouterr().err
    assert not store.keys("x")


def test_reads_that_fail_now_and_then_change_nothing(store, images, local, settings):
    store.faults["GET in put/astronaut.jpg"] = [500, "truncate"]
    store.faults["GET in put/sub/coffee.jpg"] = [1.0]
    store.faults["faulty/masks/sub/rocket.png"] = [500, 503]
    store.faults["faulty/samples.csv"] = [500]
    label("s3://data/in put", out="s3://data/faulty", **settings)
    assert not any(store.faults.values())
    assert same_masks(store, "faulty", local)


def test_an_image_that_cannot_be_had_is_skipped_with_its_reason(store, images, settings):
    store.faults["GET in put/sub/coffee.jpg"] = [403] * 99
    try:
        result = label("s3://data/in put", out="s3://data/denied", **settings)
    finally:
        store.faults.clear()
    reasons = {row.image: row.error for row in result.skipped}
    assert reasons["sub/coffee.jpg"] == "permission denied by the store; check its credentials"
    assert reasons["broken/empty.jpg"] == "empty file"
    assert reasons["broken/truncated.jpg"] == "truncated file"
    assert len(result.labelled) == 3


def test_a_run_that_was_interrupted_goes_on_from_the_store(store, images, local, settings, monkeypatch):
    monkeypatch.setattr(spool, "CHECKPOINT_ROWS", 1)
    with pytest.raises(KeyboardInterrupt):
        label("s3://data/in put", out="s3://data/cut", progress=interrupt("masks", 2), **settings)
    there = store.keys("cut")
    assert {"run.json", ".work/images.json", "model/pipeline.json"} <= set(there)
    assert json.loads(store.get("cut/run.json"))["status"] == "running"
    assert any(name.startswith(".work/journal-") for name in there)
    done = [name for name in there if name.startswith("masks/")]
    assert done
    with pytest.raises(UsageError, match="holds an unfinished run; use --resume"):
        label("s3://data/in put", out="s3://data/cut", **settings)
    with pytest.raises(UsageError, match=r"cannot resume the run in s3://data/cut: .*seed was 0, now 1"):
        label("s3://data/in put", out="s3://data/cut", resume=True, **{**settings, "seed": 1})
    store.requests.clear()
    result = label("s3://data/in put", out="s3://data/cut", resume=True, **settings)
    assert set(store.keys("cut")) == files(local.out)
    assert same_masks(store, "cut", local)
    assert result.run["work"]["fitted"] is False
    assert not any(store.requests["PUT", f"cut/{name}"] for name in done)


def test_a_killed_process_loses_no_mask(store, images, local, settings):
    code = (
        "import sys, json; from fiftyone_plugin import label; from fiftyone_plugin.runs import spool\n"
        "spool.CHECKPOINT_ROWS = 1\n"
        "label('s3://data/in put', out='s3://data/killed', **json.loads(sys.argv[1]))"
    )
    store.faults["killed/masks/sub/rocket.png"] = [30.0]  # the last one
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(settings)])
    end = time.monotonic() + 120
    while not store.requests["PUT", "killed/masks/sub/rocket.png"] and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    store.faults.clear()
    for name in set(spools()):  # of the process that was killed
        shutil.rmtree(Path(tempfile.gettempdir()) / name, ignore_errors=True)
    assert json.loads(store.get("killed/run.json"))["status"] == "running"
    label("s3://data/in put", out="s3://data/killed", resume=True, **settings)
    assert set(store.keys("killed")) == files(local.out)
    assert same_masks(store, "killed", local)


def test_overwriting_leaves_nothing_of_the_earlier_run(store, images, local, settings):
    label("s3://data/in put/sub", out="s3://data/over", **{**settings, "classes": 5})
    store.put("over/mine.txt", b"of a person")
    label("s3://data/in put", out="s3://data/over", overwrite=True, **settings)
    assert set(store.keys("over")) == files(local.out) | {"mine.txt"}
    assert same_masks(store, "over", local)


def test_two_runs_at_one_address_are_noticed(store, images, settings, monkeypatch):
    def other(stage, done, total):
        if stage == "masks" and done == 0:
            record = json.loads(store.get("two/run.json"))
            store.put("two/run.json", json.dumps({**record, "run_id": "other"}).encode())

    with pytest.raises(PseudoMaskError, match="somebody else has begun a run in s3://data/two"):
        label(
            "s3://data/in put", out="s3://data/two", progress=CallbackProgress(other, interval=0), **settings
        )
    assert json.loads(store.get("two/run.json"))["run_id"] == "other"


def test_a_place_that_cannot_be_written(store, images, settings, capsys):
    store.faults["locked/run.json"] = [403] * 99
    with pytest.raises(PseudoMaskError, match="permission denied"):
        label("s3://data/in put", out="s3://data/locked", **settings)
    store.faults.clear()
    store.put("foreign/masks/a.png", b"x")
    with pytest.raises(UsageError, match="s3://data/foreign/masks was not written by a run of this command"):
        label("s3://data/in put", out="s3://data/foreign", **settings)
    with pytest.raises(UsageError, match="is the folder of the images"):
        label("s3://data/in put", out="s3://data/in put", **settings)
    for command in (["demo"], ["import", "x", "--to", "fiftyone:x"]):
        with pytest.raises(SystemExit):
            main([*command, "--out", "s3://key:hunter2@data/x"])
    assert "hunter2" not in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"a dataset shows masks of this machine"):
        label_dataset(None, out="s3://data/x")


def test_parts_in_a_store_are_joined_there_or_here(store, images, local, settings, tmp_path):
    model = local.out / "model"
    runs = [f"s3://data/part{index}" for index in (1, 2)]
    for index, run in enumerate(runs, 1):
        label("s3://data/in put", out=run, model=model, shard=f"{index}/2", **settings)
    before = spools()
    here = join(runs, out=tmp_path / "here")
    assert masks_of(here.out) == masks_of(local.out)
    label("s3://data/in put/sub", out="s3://data/whole", **{**settings, "classes": 5})
    there = join(runs, out="s3://data/whole", overwrite=True)
    assert set(store.keys("whole")) == files(local.out)
    assert same_masks(store, "whole", local)
    assert there.run["settings"]["images_sha256"] == here.run["settings"]["images_sha256"]
    assert [row.image for row in there.samples] == [row.image for row in local.samples]
    store.client.delete_object(Bucket="data", Key="part2/masks/sub/rocket.png")
    store.client.delete_object(Bucket="data", Key="part1/masks/sub/rocket.png")
    with pytest.raises(UsageError, match=r"masks/sub/rocket\.png is gone"):
        join(runs, out=tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
    gc.collect()
    assert spools() <= before


def test_signed_addresses_leave_no_secret_in_a_run(images, settings, tmp_path, capfd):
    pytest.importorskip("aiohttp", reason="needs aiohttp, of http://")
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(images)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    names = ["astronaut.jpg", "sub/coffee.jpg", "sub/gone.jpg", "broken/text.png"]
    try:
        signed = [f"{base}/{name}?X-Amz-Signature=hunter2" for name in names]
        result = label(signed, out=tmp_path / "run", **settings)
    finally:
        server.shutdown()
        server.server_close()
    assert [row.image for row in result.labelled] == ["astronaut.jpg", "sub/coffee.jpg"]
    assert {row.image: row.error for row in result.skipped}["sub/gone.jpg"] == "no such file"
    written = [p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.suffix in (".json", ".csv")]
    printed = capfd.readouterr()
    assert not any(b"hunter2" in content for content in [*written, repr(result).encode()])
    assert "hunter2" not in printed.out + printed.err


def test_memory_in_one_process(images, settings, local):
    memory = fsspec.filesystem("memory")
    for path in images.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/set/{path.relative_to(images).as_posix()}", path.read_bytes())
    result = label("memory://set", out="memory://out", **settings)
    for row in result.labelled:
        assert memory.cat_file(f"/out/masks/{row.mask}") == (local.out / "masks" / row.mask).read_bytes()
    with pytest.raises(UsageError, match="images in memory go to a run on the disk"):
        label([np.zeros((8, 8, 3), np.uint8)], out="memory://out2", **settings)


def test_the_local_folder_stays_small(store, images, settings, monkeypatch):
    held = []
    stored = SpooledDirectory.stored

    def look(self, name):
        stored(self, name)
        held.append(sum(path.is_file() for path in self.masks.rglob("*.png")))

    monkeypatch.setattr(SpooledDirectory, "stored", look)
    label("s3://data/in put", out="s3://data/small", **settings)
    assert len(held) == 4
    assert held[-1] == 0
