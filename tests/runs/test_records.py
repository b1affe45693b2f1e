"""Records, tables and journals of runs, as anybody may have written them."""

from __future__ import annotations

import csv
import json
import os

import pytest

from fiftyone_plugin.errors import UsageError
from fiftyone_plugin.runs.folder import RunDirectory
from fiftyone_plugin.runs.record import RunDocument
from fiftyone_plugin.runs.samples import SampleRow, parse_row, read_journal, read_samples, write_samples

ROW = {"image": "a.jpg", "mask": "a.png", "width": 3, "height": 2, "classes": "1 2", "shares": "0.5 0.5"}


@pytest.mark.parametrize(
    "wrong",
    [{"images_root": 5}, {"seconds": {"total": "long"}}, {"seconds": []}, {"counts": {"images": 1.5}},
     {"areas": {"1": None}}, {"classes": ["sky"]}, {"versions": {"torch": 2}}, {"status": "perhaps"},
     {"status": None}, {"work": 1}],
    ids=str,
)  # fmt: skip
def test_values_of_a_record_have_their_types(tmp_path, wrong):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"format": 1, "settings": {}, **wrong}))
    with pytest.raises(UsageError, match=rf"is not the record of a run: {next(iter(wrong))}"):
        RunDocument.read(path)


def test_a_record_may_say_more_and_name_folders_that_are_not_utf8(tmp_path):
    document = {"format": 1, "status": "complete", "settings": {"a": [1]}, "more": {"x": 1}}
    document["images_root"] = os.fsdecode(b"/caf\xe9")
    (tmp_path / "run.json").write_text(json.dumps(document))
    record = RunDirectory(tmp_path).read_run()
    assert record.to_json().items() >= {k: v for k, v in document.items() if k != "more"}.items()


@pytest.mark.parametrize(
    "wrong",
    [{"width": -1}, {"width": "3"}, {"height": 10**30}, {"classes": "1 x"}, {"classes": "70000 1"},
     {"shares": "0.5"}, {"shares": "nan 0"}, {"qualities": "2 0"}, {"coverage": 1.5},
     {"quality": float("nan")},
     {"seconds": float("inf")}, {"status": "done"}, {"mask": "../a.png"}, {"mask": "/a.png"}, {"mask": 5},
     {"image": None}, {"error": []}, {"extra": 1}],
    ids=str,
)  # fmt: skip
def test_a_row_that_no_run_writes(tmp_path, wrong):
    """In a journal it counts as cut short, and its image is labelled again; a table is refused."""
    values = {**ROW, **wrong}
    assert parse_row(json.dumps(values)) is None
    with (tmp_path / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, values)
        writer.writeheader()
        writer.writerow(values)
    if wrong not in ({"width": "3"}, {"mask": 5}, {"image": None}, {"error": []}):  # in a table all is text
        with pytest.raises(UsageError, match="is not the table of a run"):
            read_samples(tmp_path / "samples.csv")


def test_a_field_that_no_csv_reader_takes(tmp_path):
    write_samples(tmp_path / "samples.csv", [SampleRow("a" * 200_000)])
    with pytest.raises(UsageError, match="field larger than field limit"):
        read_samples(tmp_path / "samples.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_not_waited_for(tmp_path):
    for name in ("run.json", "samples.csv", "journal.jsonl"):
        os.mkfifo(tmp_path / name)
    for read in (
        lambda: RunDocument.read(tmp_path / "run.json"),
        lambda: read_samples(tmp_path / "samples.csv"),
        lambda: list(read_journal(tmp_path / "journal.jsonl")),
    ):
        with pytest.raises(UsageError, match="regular file"):
            read()


def test_lines_of_a_journal_that_are_none_are_passed_over(tmp_path):
    good = json.dumps(ROW)
    lines = [b"[" * 100_000, b"\xff\xfe\x00", b"null", b"5", b"x" * (5 << 20), good[:20].encode()]
    (tmp_path / "journal.jsonl").write_bytes(b"\n".join([good.encode(), *lines, good.encode()]))
    assert [row.image for row in read_journal(tmp_path / "journal.jsonl")] == ["a.jpg", "a.jpg"]


def test_any_reader_finds_one_row_an_image_and_no_formula(tmp_path):
    """By another way than ours: the rows of the csv module, with the strictest reading of line ends."""
    names = ["a\rb.jpg", "a\nb.jpg", "a\r\nb.jpg", '"', "a,b", "=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "'x"]
    write_samples(tmp_path / "samples.csv", [SampleRow(name, error=name) for name in names])
    with (tmp_path / "samples.csv").open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["image"].removeprefix("'") for row in rows] == [*names[:-1], "'x"]
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r") for row in rows for cell in row.values())
    assert [row.image for row in read_samples(tmp_path / "samples.csv")] == names
