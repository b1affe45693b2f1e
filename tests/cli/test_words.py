"""One language: help, exit codes, typos, JSON and the list of methods, the same for every command."""

from __future__ import annotations

import json

import pytest

from fiftyone_plugin.cli.main import build_parser, main
from fiftyone_plugin.cli.shared import EXIT_CODES
from fiftyone_plugin.errors import UsageError, did_you_mean, unknown
from fiftyone_plugin.methods.registry import create_method, describe, list_methods

COMMANDS = (
    "label", "evaluate", "compare", "export", "import", "explain", "demo", "methods", "cache info",
    "cache clear", "plugin install", "doctor",
)  # fmt: skip


def refused(capsys, *arguments: str) -> str:
    """Run a command that is refused; returns what it says, which is short."""
    try:
        code = main(list(arguments))
    except SystemExit as end:
        code = end.code
    assert code == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    assert len(err.splitlines()) <= 2
    return err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_lists_the_exit_codes_and_no_option_is_abbreviated(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for code, words in EXIT_CODES.items():
        assert f"  {code:d}" in text
        assert words in text
    assert max(map(len, text.splitlines())) <= 130
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--hel"])
    assert end.value.code == 2  # where something else is required, that is said first


def test_label_help_names_methods_and_presets(capsys):
    with pytest.raises(SystemExit):
        main(["label", "--help"])
    text = capsys.readouterr().out
    for name in (*list_methods(), "fast", "best"):
        assert f"\n  {name}" in text


def test_options_mean_the_same_everywhere():
    """K is --classes and nothing else is; no option has two meanings of its argument."""
    parsers = build_parser()._subparsers._group_actions[0].choices
    with_classes = [name for name, parser in parsers.items() if _shown(parser, "--classes")]
    assert with_classes == ["label", "explain"]
    with_json = {name for name, parser in parsers.items() if _shown(parser, "--json")}
    assert with_json == set(parsers) - {"explain", "cache", "plugin"}
    assert not [name for name, parser in parsers.items() if parser.allow_abbrev]


def _shown(parser, option: str) -> bool:
    action = parser._option_string_actions.get(option)
    return action is not None and action.help != "==SUPPRESS=="


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lable", "x"], "did you mean 'label'?"),
        (
            ["label", "x", "--out", "y", "--metod", "z"],
            "unknown argument '--metod'; did you mean '--method'?",
        ),
        (["label", "x", "--out", "y", "--meth=z"], "unknown argument '--meth'"),
        (["label", "x", "y", "--out", "z"], "unknown argument 'y'"),
        (["label", "x", "--out", "y", "--method", "mosiac"], "did you mean 'mosaic'?"),
        (["label", "x", "--out", "y", "--preset", "fats"], "did you mean 'fast'?"),
        (["label", "x", "--out", "y", "--refine", "cfr"], "did you mean 'crf'?"),
        (["label", "x", "--out", "y", "--backbone", "offline-vits41"], "did you mean 'offline-vits14'?"),
        (["label", "x", "--out", "y", "--set", "spraed=true"], "did you mean 'spread'?"),
        (["export", "x", "--out", "y", "--format", "coco-instance"], "did you mean 'coco-instances'?"),
        (["methods", "datsu"], "did you mean 'datus'?"),
        (["demo", "--method", "datsu"], "did you mean 'datus'?"),
        (["import", "x", "--to", "name"], "--to takes fiftyone:NAME, not 'name'"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_typos_and_old_words_are_answered(arguments, message, capsys):
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "now", "value"),
    [
        (["export", "x", "--out", "y", "--classes", "sky", "sea"], "only", ["sky", "sea"]),
        (["evaluate", "x", "y", "--classes", "names.json"], "names", "names.json"),
    ],
)
def test_words_of_the_last_release_are_still_taken(arguments, now, value, capsys):
    assert getattr(build_parser().parse_args(arguments), now) == value
    assert f"--classes is called --{now} now" in capsys.readouterr().err


def test_unknown_words():
    assert did_you_mean("Mosiac", ["mosaic"]) == "; did you mean 'mosaic'?"
    assert did_you_mean("zebra", ["mosaic"]) == ""
    assert str(unknown("method", "x" * 500, ["a"])).startswith("unknown method 'xxx")
    assert len(str(unknown("method", "x" * 500, ["a"]))) < 200
    assert str(unknown("method", None, ["a", "b"])) == "unknown method None; known: a, b"


# --- methods --------------------------------------------------------------------------------------


def test_methods_are_listed(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(list_methods())]] == list_methods()


@pytest.mark.parametrize("name", list_methods())
def test_every_option_of_a_method_is_described(name, capsys):
    options = describe(name)
    assert create_method(name, **{option.name: option.default for option in options})
    assert [option.name for option in options if not (option.help and option.allowed)] == []
    assert main(["methods", name]) == 0
    printed = capsys.readouterr().out
    for option in options:
        assert f"  {option.name}={option.default}" in printed
    assert main(["methods", name, "--json", "-"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == [option.name for option in options]


def test_an_unknown_method_is_refused():
    with pytest.raises(UsageError, match="unknown method"):
        describe("magic")


# --- JSON -----------------------------------------------------------------------------------------


def test_json_of_a_run_is_alone_on_stdout_or_in_a_file(photos, fast, tmp_path, capsys):
    options = [
        "--method", "lightcluster", "--size", "96", "--classes", "3", "--refine", "none", "--jobs", "1",
    ]  # fmt: skip
    command = ["label", str(photos), "--backbone", fast["backbone"], *options]
    to, file = ["--out", str(tmp_path / "run")], tmp_path / "run.json"
    assert main([*command, *to, "--json", "-"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["labelled"] == len(document["samples"]) == len(list(photos.iterdir()))
    assert main([*command, *to, "--overwrite", "--json", str(file)]) == 0
    assert "images labelled" in capsys.readouterr().out
    assert json.loads(file.read_text())["classes"] == document["classes"]
    assert main([*command, "--out", str(tmp_path / "other"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == document["labelled"]

    run, out = str(tmp_path / "run"), tmp_path / "masks"
    assert main(["export", run, "--out", str(out), "--format", "masks", "--json", "-", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["images"] == document["labelled"]
    assert main(["import", str(out), "--out", str(tmp_path / "back"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]
    assert main(["compare", run, str(tmp_path / "back"), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"] == 1
    assert main(["evaluate", run, str(tmp_path / "back"), "--json", "-", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == document["labelled"]
    assert main(["compare", run, str(tmp_path / "back"), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
