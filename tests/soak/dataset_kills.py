"""Kills a change of a FiftyOne dataset at one of its operations, does it again, and looks at what is there.

    python tests/soak/dataset_kills.py FOLDER SCENARIO (all | COUNT SEED | N ...)

The change is killed at every operation that writes, at COUNT of all operations drawn at random with SEED, or
at the operations numbered N. Prints one JSON line for each: the number, the operation, and how the state
differs from that of the undisturbed scenario, once after the same was called again, and once after everything
was undone (both empty if all is well). Every attempt is a fork of this process, which has FiftyOne loaded.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import faults
from pymongo import monitoring
from tiny_run import make_images, make_run

NAME = "kills"
READS = tuple(f"database {name}" for name in ("find", "count", "aggregate", "distinct", "getMore", "list"))
ACTIVE: list[faults.Faults] = []


class Listener(monitoring.CommandListener):
    def started(self, event: Any) -> None:
        for fault in ACTIVE:
            fault.command(event.command_name)

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


def in_fork(function: Any, *args: Any) -> tuple[int, Any]:
    """Call a function in a fork; returns how that ended (negative: by a signal), and what it returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            os.write(writing, json.dumps(function(*args)).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        text = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, json.loads(text) if text else None


# ---------------------------------------------------------------------- data


class World:
    """A dataset of four images, in a folder of its own."""

    def __init__(self, root: Path) -> None:
        import fiftyone as fo

        self.root, self.images = root, root / "images"
        self.dataset = fo.load_dataset(NAME) if fo.dataset_exists(NAME) else None

    def reset(self) -> None:
        import fiftyone as fo

        if self.dataset is not None:
            fo.delete_dataset(NAME)
        shutil.rmtree(self.root, ignore_errors=True)
        make_images(self.images)
        self.dataset = fo.Dataset(NAME, persistent=True)
        self.dataset.add_samples([fo.Sample(filepath=str(p)) for p in sorted(self.images.iterdir())])
        self.dataset.save_view("mine", self.dataset.limit(1))

    def claim(self, field: str, classes: int = 3, *, overwrite: bool = False, made: bool = True) -> None:
        """Leave a run whose masks are done and not written, or not even done."""
        from fiftyone_plugin.dataset.claiming import asked_for, claim
        from fiftyone_plugin.dataset.recovery import recover
        from fiftyone_plugin.runs.config import LabelConfig

        out = self.root / f"{field}-{classes}"
        recover(self.dataset)
        asked = asked_for(LabelConfig(), None)
        claim(self.dataset, field, out, overwrite=overwrite, restart=False, asked=asked)
        if made:
            make_run(out, self.images, classes)

    def label(self, field: str = "m", *, overwrite: bool = False) -> None:
        from fiftyone_plugin import label_dataset

        label_dataset(self.dataset, field, overwrite=overwrite)

    def run(self, field: str) -> None:
        self.claim(field)
        self.label(field)


# ---------------------------------------------------------------------- what is there before, what is done


def _edit(name: str, *args: Any, **options: Any) -> Any:
    from fiftyone_plugin.dataset import editing

    return lambda world: getattr(editing, name)(world.dataset, "m", *args, **options)


def _rename(world: World) -> None:
    from fiftyone_plugin.dataset.editing.names import rename_classes

    rename_classes(world.dataset, "m", {1: "sky", 3: "sky"})


def _undo(world: World) -> None:
    from fiftyone_plugin import undo

    undo(world.dataset, "pseudomask_m")


def _views(world: World) -> None:
    from fiftyone_plugin.dataset.labelling import create_views

    create_views(world.dataset, "pseudomask_m")


def _compare(world: World) -> None:
    from fiftyone_plugin.dataset.comparing import compare_runs

    compare_runs(world.dataset, "m", "n")


def _undo_comparison(world: World) -> None:
    from fiftyone_plugin import undo

    undo(world.dataset, "compare_m_vs_n")


def _name(world: World) -> None:
    from fiftyone_plugin.dataset.naming import apply_mapping
    from fiftyone_plugin.evaluation.matching import Mapping

    apply_mapping(world.dataset, "m", Mapping({1: 7, 2: 7, 3: 8}, "majority", names={7: "cat", 8: "dog"}))


def _before(*steps: Any) -> Any:
    return lambda world: [step(world) for step in steps]


def _m(world: World) -> None:
    world.run("m")


def _n(world: World) -> None:
    world.run("n")


merge = _edit("merge_classes", [1, 2])
detections = _edit("masks_to_detections", min_area=1)

SCENARIOS = {
    "claim": (_before(), lambda world: world.claim("m", made=False)),
    "write": (_before(lambda world: world.claim("m")), lambda world: world.label()),
    "overwrite": (
        _before(_m, _n, _compare, merge, lambda world: world.claim("m", 2, overwrite=True)),
        lambda world: world.label(overwrite=True),
    ),
    "undo": (_before(_m, _n, _compare, merge), _undo),
    "rename": (_before(_m), _rename),
    "hide": (_before(_m), _edit("hide_classes", [1])),
    "merge": (_before(_m), merge),
    "undo_edit": (_before(_m, merge, _rename), _edit("undo_edit")),
    "undo_merge": (_before(_m, _rename, merge), _edit("undo_edit")),
    "detections": (_before(_m), detections),
    "fold": (_before(_m, detections, lambda world: _drop_one(world)), _edit("detections_to_masks")),
    "views": (_before(_m), _views),
    "compare": (_before(_m, _n), _compare),
    "compare_again": (_before(_m, _n, _compare), _compare),
    "undo_comparison": (_before(_m, _n, _compare), _undo_comparison),
    "name": (_before(_m), _name),
}


def _drop_one(world: World) -> None:
    sample = world.dataset.first()
    sample.m_detections.detections = sample.m_detections.detections[1:]
    sample.save()


# ---------------------------------------------------------------------- what is there


def state(world: World) -> dict[str, Any]:
    """Describe all that a person can see of the dataset, and what must not be left behind."""
    from fiftyone.core.odm import get_db_conn

    dataset, connection = world.dataset, get_db_conn()
    dataset.reload()
    identity = dataset._doc.id
    runs = {key: dataset.get_run_info(key).config.serialize() for key in dataset.list_runs()}
    return {
        "fields": sorted(dataset.get_field_schema()),
        "samples": [_sample(sample) for sample in dataset],
        "targets": {
            name: {str(k): v for k, v in t.items()} for name, t in sorted(dataset.mask_targets.items())
        },
        "runs": {key: _record(config) for key, config in runs.items()},
        "views": sorted((v["name"], v["description"]) for v in dataset.list_saved_views(info=True)),
        "documents": [
            connection.runs.count_documents({"_dataset_id": identity}),
            connection.views.count_documents({"_dataset_id": identity}),
        ],
        "references": [len(dataset._doc.runs), len(dataset._doc.saved_views)],
        "files": sorted(_files(world.root)),
    }


def _sample(sample: Any) -> dict[str, Any]:
    values = {}
    for name in sample.field_names:
        value = sample[name]
        if name in ("id", "filepath", "tags", "metadata", "created_at", "last_modified_at"):
            continue
        path = getattr(value, "mask_path", None) or getattr(value, "map_path", None)
        if path:
            value = [Path(path).parts[-2], Path(path).read_bytes().hex()]
        elif hasattr(value, "detections"):
            value = [[d.label, int(d.mask.sum())] for d in value.detections]
        values[name] = value if isinstance(value, (list, str, int, float, type(None))) else str(value)
    return values


def _record(config: dict[str, Any]) -> dict[str, Any]:
    own = {
        k: config.get(k)
        for k in ("status", "settings", "counts", "areas", "pending", "created_fields", "field")
    }
    own["detections"] = config.get("detections") or {}
    own["edits"] = [edit["kind"] for edit in config.get("edits") or [] if edit["status"] == "done"]
    own["unsettled"] = [e["kind"] for e in config.get("edits") or [] if e["status"] not in ("done", "undone")]
    own["views"] = sorted(config.get("saved_views") or {})
    return json.loads(json.dumps(own, default=str))


def _files(root: Path) -> list[str]:
    """List the files, without the records of edits: those that were taken back stay, as history."""
    found = []
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_dir() or path.name in ("edit.json", "lock"):
            continue
        if "edits" in parts:
            parts = (*parts[: parts.index("edits") + 1], "N", *parts[parts.index("edits") + 2 :])
        found.append("/".join(parts))
    return found


def blank(found: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a dataset has on which nothing was ever done."""
    added = [name for name in found["fields"] if name.split("_")[0] in ("m", "n")]
    files = [name for name in found["files"] if not name.startswith("images/")]
    counts = [found["documents"], found["references"]]
    return {"fields": added, "runs": found["runs"], "views": found["views"], "counts": counts, "files": files}


# ---------------------------------------------------------------------- attempts


def undisturbed(root: Path, scenario: str, count_file: str) -> dict[str, Any]:
    world = World(root)
    world.reset()
    before, action = SCENARIOS[scenario]
    before(world)
    os.environ["FAULTS_TRACE"] = "1"
    ACTIVE.append(faults.Faults("kill", 0, str(root), count_file))
    action(world)
    ACTIVE.clear()
    return state(world)


def disturbed(root: Path, scenario: str, number: int, count_file: str) -> None:
    world = World(root)
    world.reset()
    before, action = SCENARIOS[scenario]
    before(world)
    ACTIVE.append(faults.Faults("kill", number, str(root), count_file))
    action(world)


def again(root: Path, scenario: str) -> dict[str, Any]:
    from fiftyone_plugin.dataset.recovery import recover
    from fiftyone_plugin.errors import UsageError

    world = World(root)
    try:
        SCENARIOS[scenario][1](world)
    except UsageError:  # it was done already, or taken up and completed by the call
        recover(world.dataset)
    return state(world)


def undo_all(root: Path, scenario: str) -> dict[str, Any]:
    from fiftyone_plugin import undo
    from fiftyone_plugin.dataset.recovery import recover

    world = World(root)
    recover(world.dataset)
    for key in world.dataset.list_runs():
        if world.dataset.has_run(key):
            undo(world.dataset, key)
    for name in ("m_detections", "m_named"):
        if world.dataset.has_sample_field(name):
            world.dataset.delete_sample_field(name)
    return blank(state(world))


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted(found.keys() | expected.keys())
        return [d for k in keys for d in differences(found.get(k), expected.get(k), f"{where}/{k}")]
    return [] if found == expected else [f"{where}: {str(found)[:200]} instead of {str(expected)[:200]}"]


def chosen(operations: list[str], asked: list[str]) -> list[int]:
    """Return the numbers of the operations to be killed at."""
    if asked == ["all"]:
        return [n for n, line in enumerate(operations, 1) if not line.split(" ", 1)[1].startswith(READS)]
    if len(asked) == 2:
        count, seed = map(int, asked)
        return sorted(random.Random(seed).sample(range(1, len(operations) + 1), min(count, len(operations))))
    return [int(number) for number in asked]


def main() -> None:
    root, scenario, *numbers = sys.argv[1:]
    world, count_file = Path(root) / "world", str(Path(root) / "count")
    monitoring.register(Listener())
    sys.addaudithook(lambda name, args: [fault.audit(name, args) for fault in ACTIVE])
    import fiftyone as fo

    fo.config.show_progress_bars = False
    status, expected = in_fork(undisturbed, world, scenario, count_file)
    assert status == 0, f"{scenario} fails undisturbed"
    operations = Path(count_file).read_text().splitlines()
    nothing = {"fields": [], "runs": {}, "views": [["mine", None]], "counts": [[0, 1], [0, 1]], "files": []}
    for number in chosen(operations, numbers):
        wrong = []
        for repair, wanted in ((again, expected), (undo_all, nothing)):
            status, _ = in_fork(disturbed, world, scenario, number, count_file)
            assert status < 0, f"not killed at {number}: {status}"
            status, found = in_fork(repair, world, scenario)
            wrong.append(differences(found, wanted) if status == 0 else [f"it ended with {status}"])
        operation = operations[number - 1] if number <= len(operations) else ""
        print(json.dumps({"number": number, "operation": operation, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    main()
