"""Copies of runs for crafted inputs, with files in and beside them that belong to somebody else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from .crafted_runs import Crafted


class Workshop:
    """Copies of finished runs, each with files of somebody else in it and beside it.

    Args:
        root: an empty folder.
        runs: method -> folder of a finished run.
    """

    FOREIGN = (
        *("notes.txt", "masks/theirs.png", "masks/sub2/theirs.png", "model/readme.md", ".work/notes.txt"),
        *("exemplars/class_1_my_notes.jpg.txt", "exemplars/class_00001.jpg", "confidence/theirs.png"),
        *("edits/holiday/edit.json", "edits/holiday/photo.jpg", "edits/001/notes.txt", "edits/002/edit.json"),
        *("edits/001/masks/theirs.png", ".work/memo/notes.txt", ".work/fit/weights.pt"),
    )

    def __init__(self, root: Path, runs: dict[str, Path]) -> None:
        self.root = root
        self.runs = runs
        self.run = root / "run"
        self.theirs = root / "theirs"

    def prepare(self, crafted: Crafted) -> None:
        """Make the copy for one crafted input."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.runs[crafted.method], self.run)
        (self.theirs / "001" / "masks").mkdir(parents=True)
        for name in ("photo.png", "notes.txt", "a.json", "lock", "class_0001.jpg", "001/edit.json", "p0.png"):
            (self.theirs / name).write_text("theirs")
        edit = self.run / "edits" / "001"
        (edit / "masks").mkdir(parents=True)
        (edit / "masks" / "p0.png").write_bytes((self.run / "masks" / "p0.png").read_bytes())
        record = {"number": 1, "kind": "merge", "time": "", "status": "done", "settings": {}, "summary": {}}
        record |= {"before": {"shown": {"1": "a"}, "hidden": {}}, "after": {"shown": {}, "hidden": {}}}
        (edit / "edit.json").write_text(json.dumps(record))
        (self.theirs / "001" / "edit.json").write_text(json.dumps(record))
        calibration = {"format": 1, "images": 10, "quality": [0.1, 0.5], "iou": [0.2, 0.7]}
        (self.run / "calibration.json").write_text(json.dumps(calibration))
        self._save_documents()
        crafted.change(self.run, self.theirs)
        for name in self.FOREIGN:
            self._add_foreign(name)
        self._before = self._foreign()

    def _save_documents(self) -> None:
        """Put the documents aside, so that a change can write something else in their place."""
        for path in [
            *self.run.glob("*.json"),
            *self.run.glob("model/*.json"),
            *self.run.glob("edits/*/*.json"),
        ]:
            shutil.copy(path, path.with_name(path.name + ".saved"))

    def _add_foreign(self, name: str) -> None:
        path = self.run / name
        if any((self.run / above).is_symlink() for above in Path(name).parents if above.parts):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.write_text("theirs")

    def _foreign(self) -> dict[str, bytes]:
        inside = [self.run / name for name in self.FOREIGN]
        paths = [path for path in inside if path.is_file() and not path.is_symlink()]
        paths += [path for path in self.theirs.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}

    def damage(self) -> list[str]:
        """Return what happened to the files of somebody else."""
        after = self._foreign()
        return [
            f"{name} is {'changed' if name in after else 'gone'}"
            for name in sorted(self._before.keys() | after.keys())
            if self._before.get(name) != after.get(name)
        ]
