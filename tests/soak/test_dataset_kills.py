"""Changes of a dataset that are killed: done again or undone, nothing is lost, doubled or left behind."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("dataset_kills.py")
SCENARIOS = (
    "claim",
    "write",
    "overwrite",
    "undo",
    "rename",
    "hide",
    "merge",
    "undo_edit",
    "undo_merge",
    "detections",
    "fold",
    "views",
    "compare",
    "compare_again",
    "undo_comparison",
    "name",
)
SAMPLED = 4  # kills of one scenario where not all are tried

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="every attempt is a fork")


def kill(folder: Path, scenario: str, *points: object) -> list[dict]:
    environment = {**os.environ, "FIFTYONE_DATABASE_NAME": f"kills_{uuid.uuid4().hex[:8]}"}
    environment["PYTHONPATH"] = str(DRIVER.parent.parent.parent)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # in the first fork alone these would be operations, too
    environment["FIFTYONE_DEFAULT_BATCHER"] = "static"  # by latency, their number varies
    command = [sys.executable, str(DRIVER), str(folder), scenario, *map(str, points)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def check(rounds: list[dict]) -> None:
    assert rounds
    assert [found for found in rounds if found["wrong"] != [[], []]] == []


@pytest.mark.usefixtures("mongo")
def test_some_kills(tmp_path):
    seed = random.randrange(2**32)
    scenarios = ("write", "overwrite", "undo", "rename", "merge", "compare")
    for scenario in random.Random(seed).sample(scenarios, 2):
        print(f"{scenario} {SAMPLED} {seed}")  # shown where it fails
        (tmp_path / scenario).mkdir()
        check(kill(tmp_path / scenario, scenario, SAMPLED, seed))


@pytest.mark.soak
@pytest.mark.usefixtures("mongo")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_kills(tmp_path, scenario):
    rounds = kill(tmp_path, scenario, "all")
    print(f"{scenario}: {len(rounds)} kills, each done again and undone")
    check(rounds)
