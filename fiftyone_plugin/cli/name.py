"""``pseudomask name``: names for the clusters of a run, in a sheet and from it."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from ..common.console import say
from ..errors import UsageError
from . import shared


@shared.command(
    "name",
    help="name the clusters of a run, many to one",
    description="Name the clusters of a run. With --table, write a sheet to fill in and a picture of "
    "crops beside it, similar clusters side by side; with NAMES, such a sheet filled in, write the masks "
    "with these names to a new folder. Clusters of one name become one class, 'background' or 'ignore' "
    "becomes 0, and one without a name stays a class of its own. The run itself is not changed.",
    json="classes and clusters",
)
def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``name``."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="output folder of `label`, best with --classes many")
    add("names", type=Path, nargs="?", metavar="NAMES", help="CSV with the columns cluster and name")
    text = "write the sheet (default: RUN-names.csv, beside the run), and .jpg; names in it are kept"
    add("--table", nargs="?", const="", metavar="FILE", help=text)
    add("--names", dest="ids", type=Path, metavar="FILE", help="ids of the names, as in classes.json")
    text = "with --table: suggest names of this file, one a line, in columns of their own; needs --text-model"
    add("--suggest", type=Path, metavar="VOCABULARY", help=text)
    text = "image-text model of open_clip: ARCHITECTURE=FILE, or ARCHITECTURE:TAG (extra: names)"
    add("--text-model", metavar="MODEL", help=text)
    shared.add_out(parser, "the named run", required=False)


def run(args: argparse.Namespace) -> int:
    """Run ``pseudomask name``."""
    from .label import prepare_process

    prepare_process()
    if (args.table is None) == (args.names is None):
        raise UsageError("give either --table, for a sheet to fill in, or the sheet with --out DIR")
    if (args.suggest is None) != (args.text_model is None) or (args.suggest and args.table is None):
        raise UsageError(
            "names are suggested by --table with both --suggest VOCABULARY and --text-model MODEL"
        )
    return _table(args) if args.table is not None else _name(args)


def _table(args: argparse.Namespace) -> int:
    from ..runs.likeness import DENDROGRAM
    from ..runs.name_sheet import write_sheet

    run = args.folder.resolve()
    path = Path(args.table) if args.table else run.with_name(f"{run.name}-names.csv")
    ideas = None
    if args.suggest is not None:
        from ..runs.name_ideas import suggest_names

        ideas = suggest_names(args.folder, args.suggest, args.text_model)
    cards = write_sheet(args.folder, path, ideas)
    found = [{**asdict(card), "suggested": (ideas or {}).get(card.cluster, [])} for card in cards]
    if shared.finish(args, lambda: found):
        say(f"{len(cards)} clusters, similar ones side by side")
        say(f"sheet:   {path}", f"picture: {path.with_suffix('.jpg')}")
        if (run / DENDROGRAM).is_file():
            say(f"tree:    {run / DENDROGRAM}")
        if ideas is not None:
            say(f"names suggested for {len(ideas)} clusters; none is taken until it is in the column name")
        say(f"fill in the column name, then: pseudomask name {args.folder} {path} --out DIR")
    return shared.Exit.DONE


def _name(args: argparse.Namespace) -> int:
    from ..common.classes import read_class_names
    from ..runs.naming import name_clusters

    if args.out is None:
        raise UsageError("name the folder of the named run: --out DIR")
    classes = read_class_names(args.ids)[0] if args.ids else None
    how = {"classes": classes, "overwrite": args.overwrite, "progress": shared.progress_of(args)}
    result = name_clusters(args.folder, args.names, args.out, **how)
    clusters, names = result.run["settings"]["named"], result.class_names
    document = {"out": str(result.out), "classes": names, "clusters": clusters}
    if shared.finish(args, lambda: document):
        say(f"{len(result.labelled)} masks, {len(clusters)} clusters, {len(names)} classes")
        say(f"masks: {result.out / 'masks'}")
        if (result.out / "model").is_dir():
            say(f"model: {result.out / 'model'}")
    return shared.Exit.DONE
