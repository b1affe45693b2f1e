"""Time that the panel "Pseudo-masks" takes to open and to answer clicks, against the number of samples.

    python -m benchmarks.panel --samples 10000 100000

The samples are synthetic: fields of two runs, and a comparison of them, but no files, which the panel does
not read; strips of crops are there for 20 classes. The database is FiftyOne's own, or the one that
``FIFTYONE_DATABASE_URI`` names; the dataset is deleted at the end. *Opening* is the request that fills the
panel when it opens. In brackets the time of this process's CPU, without that of the database. Two lines a
size: figures looked for every time, as while samples change, and kept since the time before, as afterwards.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
CLASSES = 27
FIELDS = ("first", "second")
REPEATS = 5
MADE = 10_000  # samples that FiftyOne makes
CLICKS = ("opening", "click on a class", "click on a bar", "saved views")
FORMS = ("label_dataset", "export_masks", "rename_classes", "evaluate_masks", "undo_edit")


def make_dataset(n: int, folder: Path) -> Any:
    """Return a dataset of ``n`` samples with two runs and their comparison."""
    import fiftyone as fo

    from fiftyone_plugin.dataset.labelling import create_views
    from fiftyone_plugin.dataset.record import RunFields

    rng = np.random.default_rng(0)
    dataset = fo.Dataset()
    made = min(n, MADE)
    # none of the samples stays alive: it would be loaded anew with every field
    names = [f"/nowhere/{i:07d}.jpg" for i in range(made)]
    dataset.add_samples([fo.Sample(filepath=name) for name in names], dynamic=False, progress=False)
    ids = dataset.values("id")
    weights = rng.dirichlet(np.ones(CLASSES))
    for field in FIELDS:
        names = np.array([f"class {k}" for k in range(1, CLASSES + 1)])
        dataset.set_values(
            field,
            {i: fo.Segmentation(mask_path=f"/nowhere/{field}/{i}.png") for i in ids},
            key_field="id",
        )
        shown = [names[rng.choice(CLASSES, 5, replace=False, p=weights)].tolist() for _ in ids]
        dataset.set_values(f"{field}_classes", shown)
        dataset.set_values(f"{field}_quality", rng.random(made).tolist())
        dataset.mask_targets = {**dataset.mask_targets, field: dict(enumerate(names.tolist(), 1))}
        dataset.save()
    dataset.set_values("agreement", rng.random(made).tolist())
    _multiply(dataset, n)
    for field in FIELDS:
        config = dataset.init_run(
            method="pseudomask",
            field=field,
            out=str(folder),
            fields=RunFields(field).all,
            created_fields=[field],
            status="complete",
            settings={"method": "mosaic"},
            counts={"images": n, "labelled": n, "skipped": 0},
            areas={str(k): float(share) for k, share in enumerate(weights, 1)},
        )
        dataset.register_run(f"pseudomask_{field}", config)
        create_views(dataset, f"pseudomask_{field}")
        for name in (f"{field}_classes", f"{field}_quality"):  # as a run does
            dataset.create_index(name)
    _compare(dataset, n)
    return dataset


def _multiply(dataset: Any, n: int) -> None:
    """Let the database copy the samples, with other scores, until there are ``n``: FiftyOne takes minutes."""
    samples = dataset._sample_collection
    made = samples.count_documents({})
    last = samples.find_one(sort=[("_id", -1)])["_id"]
    scores = {name: {"$rand": {}} for name in (*(f"{field}_quality" for field in FIELDS), "agreement")}
    for start in range(made, n, made):
        stages = [{"$match": {"_id": {"$lte": last}}}, {"$limit": min(made, n - start)}, {"$unset": "_id"}]
        samples.aggregate([*stages, {"$set": scores}, {"$merge": {"into": samples.name}}])


def _compare(dataset: Any, images: int) -> None:
    config = dataset.init_run(
        method="pseudomask_comparison",
        a=FIELDS[0],
        b=FIELDS[1],
        field="agreement",
        images=images,
        agreement=0.5,
        ari=0.4,
        nmi=0.4,
        classes=[{"a": k, "b": k, "iou": 0.5} for k in range(1, CLASSES + 1)],
        left_out=0,
        reasons={},
    )
    dataset.register_run(f"compare_{FIELDS[0]}_vs_{FIELDS[1]}", config)


def make_strips(folder: Path) -> None:
    """Write strips of noise, which compress worse than photographs."""
    from PIL import Image

    from fiftyone_plugin.runs.exemplars import exemplar_path

    rng = np.random.default_rng(0)
    for class_id in range(1, CLASSES + 1):
        path = exemplar_path(folder, class_id)
        path.parent.mkdir(exist_ok=True)
        noise = rng.integers(0, 255, (12, 74, 3), np.uint8)
        Image.fromarray(noise).resize((591, 96)).save(path, quality=85)


def request(dataset: Any, method: str, state: dict[str, Any], **params: Any) -> dict[str, Any]:
    """Do what the App's server does for one event of the panel; returns the state after it."""
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionContext, Executor

    from fiftyone_plugin._version import PLUGIN_NAME

    uri = f"{PLUGIN_NAME}/pseudomasks"
    params = {"__method__": method, "panel_id": "panel", "panel_state": dict(state), **params}
    context = ExecutionContext(
        request_params={"dataset_name": dataset.name, "params": params},
        executor=Executor(),
        operator_uri=uri,
        required_secrets=[],
    )
    foo.get_operator(uri).execute(context)
    return dict(context.panel.state._data or {})


def form(dataset: Any, name: str, **params: Any) -> None:
    """Do what the App's server does for one change of a form: build it, and say how it can be executed."""
    import fiftyone.operators as foo
    from fiftyone.operators.executor import ExecutionContext

    from fiftyone_plugin._version import PLUGIN_NAME

    uri = f"{PLUGIN_NAME}/{name}"
    for part in ("resolve_input", "resolve_execution_options"):
        request = {"dataset_name": dataset.name, "params": params}
        context = ExecutionContext(request_params=request, operator_uri=uri, required_secrets=[])
        getattr(foo.get_operator(uri), part)(context)


def median_ms(function: Callable[[], object]) -> str:
    """Return the median time of some calls, after one that does not count, and that of this process alone."""
    function()
    times = []
    for _ in range(REPEATS):
        start, cpu = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    wall, own = 1000 * np.median(times, axis=0)
    return f"{wall:.0f} ({own:.0f})"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        plugins = Path(name) / "plugins"
        plugins.mkdir()
        (plugins / "pseudomask").symlink_to(REPOSITORY, target_is_directory=True)
        os.environ["FIFTYONE_PLUGINS_DIR"] = str(plugins)  # before FiftyOne is imported
        os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
        make_strips(Path(name))
        cells = [
            "samples",
            "figures",
            *(f"{name}, ms" for name in (*CLICKS, *(f"form {name}" for name in FORMS))),
        ]
        print(f"| {' | '.join(cells)} |")
        print("| ---: " * len(cells) + "|")
        for n in arguments.samples:
            for line in rows(n, Path(name)):
                print(line, flush=True)


def rows(n: int, folder: Path) -> Iterator[str]:
    """Measure one size and yield its lines of the table."""
    import fiftyone as fo

    from fiftyone_plugin.dataset import remembered
    from fiftyone_plugin.dataset.labelling import create_views

    dataset = make_dataset(n, folder)
    try:
        state = request(dataset, "on_load", {})
        calls: list[Callable[[], object]] = [
            lambda: request(dataset, "on_load", {}),
            lambda: request(dataset, "click_class", state, row=3),
            lambda: request(dataset, "click_bar", state, idx=2),
            lambda: create_views(dataset, f"pseudomask_{FIELDS[0]}"),
            *(partial(form, dataset, name, field=FIELDS[0]) for name in FORMS),
        ]
        for figures, hot in (("looked for", math.inf), ("kept", 0.0)):
            remembered.HOT_S = hot
            yield f"| {n:,} | {figures} | {' | '.join(median_ms(call) for call in calls)} |"
    finally:
        fo.delete_dataset(dataset.name)


if __name__ == "__main__":
    main()
