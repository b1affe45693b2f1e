"""FiftyOne's own loader finds the plugin and registers what its manifest lists, however it was installed.

FiftyOne runs in an interpreter of its own, in an environment that sees all packages but this project.
"""

import json
import os
import shutil
import site
import subprocess
import threading
import venv
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from fiftyone_plugin._version import PLUGIN_NAME, __version__
from fiftyone_plugin.cli import plugin as plugin_install
from fiftyone_plugin.errors import UsageError

PROBE = """
import json, sys
from fiftyone.operators.registry import OperatorRegistry
OperatorRegistry()
registry = OperatorRegistry()  # the entry is executed again for every registry
import fiftyone_plugin
print(json.dumps({
    "registered": sorted(o.uri for o in registry.list_operators(builtin=False)),
    "errors": registry.list_errors(),
    "library": fiftyone_plugin.__file__,
    "torch": "torch" in sys.modules,
    "operators": "operators" in sys.modules,
}))
"""


class Environment:
    """A virtual environment that sees all packages but this project, with its own plugins directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = folder / "plugins"
        self.plugins.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=False, symlinks=os.name != "nt")
        scripts = "Scripts" if os.name == "nt" else "bin"
        self.python = folder / "venv" / scripts / "python"
        self.site_packages = Path(
            self.run("import sysconfig; print(sysconfig.get_paths()['purelib'])").strip()
        )
        # a path file is not searched for path files in turn, so an editable installation here stays invisible
        (self.site_packages / "packages.pth").write_text("\n".join(site.getsitepackages()))

    def run(self, code: str, *arguments: str, check: bool = True) -> str:
        return self._run("-c", code, *arguments, check=check)

    def pseudomask(self, *arguments: str) -> str:
        return self._run("-m", "fiftyone_plugin", *arguments)

    def probe(self) -> dict:
        return json.loads(self.run(PROBE).splitlines()[-1])

    def _run(self, *arguments: str, check: bool = True) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            "FIFTYONE_PLUGINS_DIR": str(self.plugins),
            "FIFTYONE_DATABASE_URI": "mongodb://127.0.0.1:9",  # nothing here needs a database
        }
        done = subprocess.run(
            [str(self.python), *arguments], env=environment, cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def environment(tmp_path) -> Environment:
    return Environment(tmp_path / "environment")


@pytest.fixture(scope="module")
def listed(source_tree) -> list[str]:
    manifest = yaml.safe_load((source_tree / "fiftyone.yml").read_text())
    names = [*manifest.get("operators", []), *manifest.get("panels", [])]
    assert names
    return sorted(f"{PLUGIN_NAME}/{name}" for name in names)


def unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


def assert_loaded(found: dict, listed: list[str], library: Path) -> None:
    assert found["errors"] == []
    assert found["registered"] == listed
    assert Path(found["library"]).resolve() == library.resolve() / "fiftyone_plugin" / "__init__.py"
    assert not found["torch"], "registering the operators imports torch"
    assert not found["operators"], "a top-level module called operators was imported"


def test_repository_linked_into_the_plugins_directory(environment, source_tree, listed):
    (environment.plugins / "linked").symlink_to(source_tree, target_is_directory=True)

    assert_loaded(environment.probe(), listed, source_tree)


def test_editable_installation(environment, source_tree, build, listed):
    unpack(build("editable"), environment.site_packages)
    printed = environment.pseudomask("plugin", "install")

    entry = environment.plugins.joinpath(*PLUGIN_NAME.split("/"))
    assert printed == f"{PLUGIN_NAME}: linked {entry} -> {source_tree.resolve()}\n"
    assert entry.is_symlink()
    assert_loaded(environment.probe(), listed, source_tree)


@pytest.mark.parametrize("way", ["linked", "copied"])
def test_wheel(environment, wheel, listed, way):
    unpack(wheel, environment.site_packages)
    where = ("--plugins-dir", str(environment.plugins))
    environment.pseudomask("plugin", "install", *where, *(["--copy"] if way == "copied" else []))

    entry = environment.plugins.joinpath(*PLUGIN_NAME.split("/"))
    assert entry.is_symlink() == (way == "linked")
    assert_loaded(environment.probe(), listed, environment.site_packages)

    assert environment.pseudomask("plugin", "uninstall", *where) == f"{PLUGIN_NAME}: removed {entry}\n"
    assert list(environment.plugins.iterdir()) == []
    assert (environment.site_packages / "fiftyone_plugin" / "_bundle" / "fiftyone.yml").is_file()


DOWNLOAD = """
import json, sys
import fiftyone.plugins as fop
from fiftyone.plugins.core import load_plugin_requirements
found = fop.download_plugin(sys.argv[1])
(plugin,) = fop.list_plugins(enabled="all", builtin=False)
needs = load_plugin_requirements(plugin.name)
print(json.dumps({"found": found, "version": plugin.version, "requirements": needs}))
"""


def test_a_repository_that_fiftyone_downloads(environment, source_tree, listed, tmp_path):
    """As `fiftyone plugins download URL` does: an archive with one folder, whose root is the plugin."""
    served = tmp_path / "served"
    shutil.make_archive(str(served / "main"), "zip", source_tree.parent, source_tree.name)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/main.zip"
        told = json.loads(environment.run(DOWNLOAD, url).splitlines()[-1])
        server.shutdown()

    folder = environment.plugins.joinpath(*PLUGIN_NAME.split("/"))
    assert told["found"] == {PLUGIN_NAME: str(folder)}
    assert told["version"] == __version__
    assert told["requirements"] == (source_tree / "requirements.txt").read_text().split()
    assert_loaded(environment.probe(), listed, folder)


def test_another_package_of_the_same_name_is_named_in_the_error(environment, source_tree):
    (environment.plugins / "linked").symlink_to(source_tree, target_is_directory=True)
    other = environment.site_packages / "fiftyone_plugin"
    other.mkdir()
    (other / "__init__.py").write_text("")

    found = environment.probe()

    assert found["registered"] == []
    (error,) = found["errors"]
    assert f"ImportError: ['{other}'] is another package called fiftyone_plugin" in error


def test_a_copy_without_the_library_says_what_to_install(environment, source_tree):
    plugin_install.copy_plugin(source_tree, environment.plugins / "copied")
    code = PROBE.replace("import fiftyone_plugin\n", "").replace("fiftyone_plugin.__file__", "None")

    found = json.loads(environment.run(code).splitlines()[-1])

    (error,) = found["errors"]
    assert "pip install fiftyone-pseudomask" in error


# --- install and uninstall, without FiftyOne -------------------------------------------------------


@pytest.fixture
def entry(tmp_path) -> Path:
    return tmp_path.joinpath("plugins", *PLUGIN_NAME.split("/"))


@pytest.fixture
def plugins(tmp_path) -> Path:
    return tmp_path / "plugins"


def test_install_is_idempotent(plugins, entry):
    first = plugin_install.install(plugins)
    second = plugin_install.install(plugins)

    assert (first.action, second.action) == ("linked", "unchanged")
    assert first.path == second.path == entry
    assert entry.resolve() == first.target == plugin_install.bundle_dir()


def test_link_and_copy_replace_each_other(plugins, entry):
    actions = [plugin_install.install(plugins, copy=copy).action for copy in (False, True, True, False)]

    assert actions == ["linked", "copied", "copied", "linked"]
    assert entry.resolve() == plugin_install.bundle_dir()


def test_a_copy_holds_the_manifest_the_entry_and_the_operators(plugins, entry):
    plugin_install.install(plugins, copy=True)

    assert {path.name for path in entry.iterdir()} == {*plugin_install.BUNDLE_PARTS, plugin_install.COPY_MARK}
    assert not list(entry.rglob("__pycache__"))


def test_uninstall_of_nothing(plugins):
    assert plugin_install.uninstall(plugins).action == "absent"


def test_a_link_whose_target_is_gone_is_replaced(plugins, entry, tmp_path):
    entry.parent.mkdir(parents=True)
    entry.symlink_to(tmp_path / "gone")

    assert plugin_install.install(plugins).action == "linked"


def test_a_folder_that_was_not_made_here_stays(plugins, entry):
    entry.mkdir(parents=True)
    (entry / "notes.txt").write_text("mine")

    with pytest.raises(UsageError, match="was not put there by this command"):
        plugin_install.install(plugins)
    with pytest.raises(UsageError, match="was not put there by this command"):
        plugin_install.uninstall(plugins)
    assert (entry / "notes.txt").read_text() == "mine"


def test_a_link_to_something_else_stays(plugins, entry, tmp_path):
    entry.parent.mkdir(parents=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "fiftyone.yml").write_text("name: '@somebody/else'\n")
    entry.symlink_to(other)

    with pytest.raises(UsageError, match="not this plugin"):
        plugin_install.install(plugins)
    assert entry.resolve() == other


def test_a_plugin_put_there_by_hand_is_found(plugins, tmp_path):
    plugins.mkdir()
    (plugins / "by-hand").symlink_to(plugin_install.bundle_dir(), target_is_directory=True)
    assert plugin_install.install(plugins) == plugin_install.Outcome(
        "unchanged", plugins / "by-hand", plugin_install.bundle_dir()
    )

    downloaded = plugins / "downloaded"
    downloaded.mkdir()
    (downloaded / "fiftyone.yml").write_text(f"name: '{PLUGIN_NAME}'\n")
    (plugins / "by-hand").unlink()
    with pytest.raises(UsageError, match="downloaded"):
        plugin_install.install(plugins)


def test_unreadable_manifests_are_somebody_elses(plugins):
    for name, text in {"broken": "name: [", "list": "- a\n", "empty": ""}.items():
        (plugins / name).mkdir(parents=True)
        (plugins / name / "fiftyone.yml").write_text(text)

    assert plugin_install.find_registered(plugins) == []
    assert plugin_install.install(plugins).action == "linked"


def test_asking_fiftyone_for_its_plugins_directory_starts_no_database(environment, source_tree, monkeypatch):
    code = """
import os, sys
del os.environ["FIFTYONE_DATABASE_URI"]
sys.path.insert(0, sys.argv[1])
import psutil
from fiftyone_plugin.cli.plugin import plugins_dir
print(plugins_dir())
print([child.name() for child in psutil.Process().children(recursive=True)])
"""
    monkeypatch.setenv("HOME", str(environment.folder))
    monkeypatch.setenv("FIFTYONE_DATABASE_DIR", str(environment.folder / "db"))

    assert environment.run(code, str(source_tree)).splitlines() == [str(environment.plugins), "[]"]
    assert not (environment.folder / "db").exists()
