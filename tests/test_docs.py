"""The documentation: it builds without a warning, and what it tells people to type exists."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import fiftyone_plugin as fop
from fiftyone_plugin.cli.main import build_parser, main

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language, pages=PAGES):
    return [
        pytest.param(body, id=f"{page.relative_to(ROOT)}-{number}")
        for page in pages
        for number, (kind, body) in enumerate(_FENCE.findall(page.read_text(encoding="utf-8")))
        if kind == language
    ]


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", exc_type=ImportError)
    pytest.importorskip("material", exc_type=ImportError)
    pytest.importorskip("mkdocstrings_handlers.python", exc_type=ImportError)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    site = {path.relative_to(tmp_path / "site").as_posix() for path in (tmp_path / "site").rglob("*.html")}
    assert {path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in PAGES[2:]} <= site
    shell = (tmp_path / "site" / "cli.html").read_text(encoding="utf-8")
    assert "--min-confidence" in shell
    python = (tmp_path / "site" / "api.html").read_text(encoding="utf-8")
    assert all(
        f'id="fiftyone_plugin.{name}"' in python for name in fop.__all__ if callable(getattr(fop, name))
    )


def test_every_page_is_in_the_navigation():
    import yaml

    document = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = set(re.findall(r"[\w/]+\.md", str(document["nav"])))
    assert named == {
        path.relative_to(ROOT / "docs").as_posix() for path in PAGES if ROOT / "docs" in path.parents
    }


def test_every_picture_of_the_app_is_one_that_the_tests_take():
    script = ast.parse((ROOT / "scripts" / "pictures.py").read_text(encoding="utf-8"))
    (made,) = (
        ast.literal_eval(node.value)
        for node in script.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PICTURES"
    )
    shown = {path.stem for path in (ROOT / "docs" / "images").glob("*.jpg")}
    assert {name for name in shown if name.startswith(("app-", "edit-", "teach-"))} == made.keys()
    taken = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "app").glob("test_*.py"))
    assert [name for name in made.values() if f'picture(page, "{name}")' not in taken] == []


# --- Python ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", blocks("python"))
def test_python_in_the_docs_compiles_and_names_what_there_is(code):
    tree = ast.parse(code)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fiftyone_plugin"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), node.module
            names |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.asname: fop for a in node.names if a.name == "fiftyone_plugin"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (target := _resolve(node.func, names)) is not None:
            _check_keywords(target, node)


def _resolve(node, names):
    """Return what a dotted name of the package stands for; an attribute that it lacks is an error."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (owner := _resolve(node.value, names)) is not None:
        return getattr(owner, node.attr)
    return None


def _check_keywords(target, call):
    parameters = inspect.signature(target).parameters.values()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return
    known = {each.name for each in parameters}
    assert {keyword.arg for keyword in call.keywords if keyword.arg} <= known, ast.unparse(call)


# --- shell -----------------------------------------------------------------------------------------


def commands(text):
    """Yield the words of every ``pseudomask`` line; a backslash continues it."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0].endswith("pseudomask"):
            yield words[1:]


@pytest.mark.parametrize("text", [b for b in blocks("sh") if "pseudomask " in b.values[0]])
def test_commands_in_the_docs_are_understood(text, capsys):
    parser = build_parser()
    try:
        assert all(parser.parse_args(words).command for words in commands(text))
    except SystemExit:
        pytest.fail(capsys.readouterr().err)


def test_commands_in_lines_of_text_have_options_that_exist():
    known = set(re.findall(r"--[a-z][a-z-]+", "".join(_helps())))
    for page in PAGES:
        for words in re.findall(r"`pseudomask [a-z]+[^`]*`", page.read_text(encoding="utf-8")):
            assert set(re.findall(r"--[a-z][a-z-]+", words)) <= known, (page.name, words)


def _helps():
    actions = [action for action in build_parser()._actions if hasattr(action, "_name_parser_map")]
    return [parser.format_help() for action in actions for parser in action.choices.values()]


def test_errors_in_the_docs_are_errors_of_the_code():
    constants = "\n".join(
        str(node.value)
        for path in (ROOT / "fiftyone_plugin").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    assert len(messages) > 10
    for message in messages:
        for part in filter(None, (piece.strip() for piece in message.split("..."))):
            assert part in constants, part


# --- what runs -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_start_page_runs(photos, backbone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").symlink_to(photos)
    text = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    for kind, body in _FENCE.findall(text):
        for words in commands(body) if kind == "sh" else ():
            assert words[0] in ("demo", "label", "plugin")  # the others have tests of their own
            assert words[0] != "label" or main([*words, "-q"]) == 0
        if kind == "python":
            exec(compile(body, "start.md", "exec"), {})
    assert (tmp_path / "labels" / "contact_sheet.png").is_file()
