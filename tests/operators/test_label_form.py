"""The form of a run: what it says, what it refuses, what it hands over, and what it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fiftyone_plugin._version import PLUGIN_NAME
from fiftyone_plugin.features.backbones.registry import (
    BACKBONES,
    DEFAULT_BACKBONE,
    OFFLINE_BACKBONE,
    default_here,
    describe_weights,
    is_here,
)
from fiftyone_plugin.methods.registry import CATALOG, create_method, list_methods
from fiftyone_plugin.runs.config import LabelConfig

URI = f"{PLUGIN_NAME}/label_dataset"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def form(foo, dataset, context):
    """``form(**params)``: the properties that the App would show."""

    def build(uri=URI, request=None, **params):
        asked = context(uri, dataset, params, **(request or {}))
        return foo.get_operator(uri).resolve_type(asked, "inputs").type.properties

    return build


@pytest.fixture
def options(foo, dataset, context):
    return lambda **params: foo.get_operator(URI).resolve_execution_options(context(URI, dataset, params))


def values_of(prop):
    return list(prop.type.values)


def text_of(prop):
    return f"{prop.view.label} {prop.view.description}"


class TestCatalog:
    def test_names_the_methods_there_are(self):
        assert list(CATALOG) == list_methods()

    @pytest.mark.parametrize("name", list(CATALOG))
    def test_says_which_find_the_number_of_classes(self, name):
        from fiftyone_plugin.errors import UsageError

        if CATALOG[name].finds_classes:
            create_method(name, n_classes="auto")
        else:
            with pytest.raises(UsageError):
                create_method(name, n_classes="auto")


class TestWeights:
    def test_a_cached_model_is_here(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        assert not is_here(DEFAULT_BACKBONE)
        assert "not here" in describe_weights(DEFAULT_BACKBONE)
        repository = tmp_path / f"models--timm--{DEFAULT_BACKBONE}"
        folder = repository / "snapshots" / "0123"
        folder.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0123")  # as the hub's client does, and asks for
        assert not is_here(DEFAULT_BACKBONE)
        (folder / "model.safetensors").write_bytes(b"0")
        assert is_here(DEFAULT_BACKBONE)
        assert default_here() == DEFAULT_BACKBONE
        assert describe_weights(DEFAULT_BACKBONE).endswith("here, in the cache of the model hub")

    def test_the_offline_checkpoint_is_said_to_be_what_a_run_will_use(self, backbone, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
        assert default_here() == OFFLINE_BACKBONE == backbone.name
        assert "saliency" in describe_weights(None)
        assert describe_weights(OFFLINE_BACKBONE).endswith("; here")

    @pytest.mark.parametrize("name", list(BACKBONES))
    def test_every_backbone_has_its_licence_and_whether_it_is_here(self, name):
        text = describe_weights(name)
        assert BACKBONES[name].licence in text
        assert "here" in text


class TestForm:
    def test_every_setting_is_there_with_a_default(self, form):
        shown = form()
        assert {"field", "method", "classes", "auto_classes", "backbone", "refine", "size"} <= set(shown)
        assert values_of(shown["method"]) == list_methods()
        assert set(BACKBONES) <= set(values_of(shown["backbone"]))
        assert not any(prop.invalid for prop in shown.values())

    def test_the_target_is_asked_where_there_is_a_choice(self, form, dataset):
        selected = {"selected": dataset.limit(2).values("id")}
        shown = form(request=selected)
        assert "SELECTED_SAMPLES" in values_of(shown["view_target"])
        chosen = form(request={**selected, "view_target": "SELECTED_SAMPLES"})
        assert chosen["estimate"].view.label.startswith("2 images: about")
        everything = form(request={**selected, "view_target": "DATASET"})
        assert everything["estimate"].view.label.startswith(f"{len(dataset)} images: about")

    def test_auto_hides_the_number_and_only_where_the_method_finds_it(self, form):
        assert "classes" not in form(auto_classes=True)
        other = form(method="lightcluster", auto_classes=True)
        assert "classes" in other
        assert "auto_classes" not in other

    def test_the_chosen_backbone_says_where_its_weights_come_from(self, form):
        for name, spec in BACKBONES.items():
            prop = form(backbone=name)["backbone"]
            assert spec.licence in prop.view.description

    def test_a_weights_file_is_checked(self, form, tiny_weights, tmp_path):
        assert "weights" not in form()
        assert "name a file" in form(backbone="file")["weights"].error_message
        assert "no file" in form(backbone="file", weights=str(tmp_path / "a.pth"))["weights"].error_message
        assert "absolute" in form(backbone="file", weights="a.pth")["weights"].error_message
        assert "ends in" in form(backbone="file", weights=str(tmp_path))["weights"].error_message
        assert not form(backbone="file", weights=tiny_weights)["weights"].invalid
        assert not form(backbone="file", weights=f"vit_tiny_patch16_224={tiny_weights}")["weights"].invalid

    @pytest.mark.parametrize("name", ["1mask", "a.b", "_mask", "a b"])
    def test_names_that_cannot_be_a_field(self, form, name):
        assert form(field=name)["field"].invalid

    def test_only_the_field_of_a_run_may_be_overwritten(self, form, dataset, fo, fill):
        dataset.add_sample_field("taken", fo.StringField)
        dataset.add_sample_field("beside_quality", fo.FloatField)
        fill("auto", images=2)
        for name in ("taken", "tags", "filepath", "beside"):
            shown = form(field=name, overwrite=True)
            assert "not made by a run" in shown["field"].error_message
            assert "overwrite" not in shown
        shown = form(field="auto")
        assert "earlier run" in shown["field"].error_message
        assert "overwrite" in shown
        assert not form(field="auto", overwrite=True)["field"].invalid
        assert "overwrite" not in form(field="fresh")

    def test_the_run_of_another_dataset_is_not_overwritten_in_a_copy(self, form, dataset, fill):
        fill("auto", images=2)
        config = dataset.get_run_info("pseudomask_auto").config
        config.dataset_id = "0123456789abcdef01234567"
        dataset.update_run_config("pseudomask_auto", config)
        shown = form(field="auto", overwrite=True)
        assert "of another dataset" in shown["field"].error_message
        assert "overwrite" not in shown

    def test_an_unfinished_run_is_offered_to_go_on(self, form, dataset, tmp_path):
        from fiftyone_plugin.dataset.claiming import claim
        from fiftyone_plugin.runs.folder import RunDirectory

        claim(dataset, "half", tmp_path / "run", overwrite=False, restart=False)
        shown = form(field="half")
        assert not shown["field"].invalid
        assert "unfinished run" in text_of(shown["unfinished"])
        assert "restart" in shown
        directory = RunDirectory(tmp_path / "run")
        directory.reserve(resume=True, restart=False)
        try:
            assert "at work" in form(field="half")["field"].error_message
        finally:
            directory.close()

    def test_pydensecrf_is_refused_where_it_is_not_installed(self, form, monkeypatch):
        monkeypatch.setitem(sys.modules, "pydensecrf", None)
        monkeypatch.delitem(sys.modules, "pydensecrf.densecrf", raising=False)
        assert "needs its package" in form(refine="pydensecrf")["refine"].error_message
        assert not form(refine="crf")["refine"].invalid
        assert not form()["refine"].invalid


class TestEstimate:
    def test_follows_the_settings(self, form, tmp_path, monkeypatch):
        monkeypatch.setenv("PSEUDOMASK_CACHE", str(tmp_path))  # nothing is learnt yet
        small, large = form(size=224), form(size=1792)
        assert small["estimate"].view.label != large["estimate"].view.label
        assert "guess" in small["estimate"].view.description.lower()

    def test_long_runs_are_scheduled_by_default_and_the_form_says_so(self, form, options, dataset, fo):
        assert not options().default_choice_to_delegated
        path = dataset.first().filepath
        dataset.add_samples([fo.Sample(filepath=path) for _ in range(3000)])
        assert options().default_choice_to_delegated
        assert options().allow_immediate_execution
        shown = form()["estimate"]
        assert type(shown.view).__name__ == "Warning"
        assert "fiftyone delegated launch" in shown.view.description

    def test_the_share_of_cached_features(self, dataset, tiny_weights, tmp_path, monkeypatch):
        from fiftyone_plugin.common.paths import CACHE_ENV, cache_dir
        from fiftyone_plugin.features.cache import cached_share
        from fiftyone_plugin.runs.api import label

        monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
        paths = dataset.values("filepath")
        assert cached_share(paths, "tiny", 64, cache_dir()) == 0.0
        settings = {"backbone": tiny_weights, "size": 64, "classes": 3, "refine": "none", "jobs": 1}
        label(paths[:3], out=tmp_path / "run", method="lightcluster", cache=True, **settings)
        assert cached_share(paths[:3], "tiny", 64, cache_dir()) == 1.0
        assert cached_share(paths[3:], "tiny", 64, cache_dir()) == 0.0
        assert cached_share(paths, "tiny", 96, cache_dir()) == 0.0
        assert cached_share(["nowhere.jpg"], "tiny", 64, cache_dir()) == 0.0


class TestValues:
    @pytest.mark.parametrize(
        "settings",
        [
            {"method": "mosaic", "classes": "auto", "backbone": None, "refine": None, "size": 448},
            {"method": "datus", "classes": 7, "backbone": OFFLINE_BACKBONE, "refine": "none", "size": 224},
            {"method": "mosaic", "classes": 3, "backbone": "/w/a.pth", "refine": "crf", "size": 448},
        ],
    )
    def test_settings_survive_the_form(self, settings):
        from operators.forms.settings import form_values, read_settings
        from operators.params import Params

        assert read_settings(Params(form_values(**settings))) == settings
        LabelConfig(**settings).validate()

    def test_an_empty_form_is_the_default_configuration(self):
        from operators.forms.settings import read_settings
        from operators.params import Params

        settings = read_settings(Params({}))
        default = LabelConfig()
        assert settings == {name: getattr(default, name) for name in settings}


def test_forms_load_nothing_heavy(mongo):
    """Placements, forms and execution options, in a process that has loaded FiftyOne alone."""
    code = """
import sys
import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators.executor import ExecutionContext
names = ("torch", "timm", "sklearn", "faiss", "huggingface_hub", "matplotlib", "skimage", "joblib")
names = [name for name in names if name not in sys.modules]
dataset = fo.Dataset()
dataset.add_samples([fo.Sample(filepath=f"/nowhere/{i}.jpg") for i in range(20)])
import operators
for cls in operators.operator_classes():
    each = cls()
    if not hasattr(each, "resolve_placement") or each.config.name not in sys.argv:
        continue
    request = {"dataset_name": dataset.name, "params": {}}
    ctx = ExecutionContext(request, operator_uri="x", required_secrets=[])
    each.resolve_placement(ctx)
    each.resolve_type(ctx, "inputs")
    each.resolve_execution_options(ctx)
print(names, sorted(set(names) & set(sys.modules)))
dataset.delete()
"""
    names = ["label_dataset", "quick_label", "preview_masks", "stop_run", "evaluate_masks", "export_masks"]
    done = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.endswith("[]"), line
    assert "torch" in line  # else FiftyOne has loaded it itself, and nothing was tested


def test_a_keystroke_lists_the_view_and_estimates_once(foo, dataset, context, monkeypatch):
    """The App asks for the form and for where to run in two requests; real commands are counted."""
    from fiftyone.core.collections import SampleCollection

    from fiftyone_plugin.runs import estimate as estimating

    calls = []

    def counted(owner, name):
        original = getattr(owner, name)

        def call(*args, **options):
            calls.append(name)
            return original(*args, **options)

        monkeypatch.setattr(owner, name, call)

    counted(estimating, "estimate")
    counted(SampleCollection, "values")
    counted(SampleCollection, "aggregate")
    ids = dataset.limit(5).values("id")
    view = dataset.select(ids)._serialize()
    calls.clear()
    for uri in (URI, f"{PLUGIN_NAME}/preview_masks"):
        operator = foo.get_operator(uri)
        for ask in (operator.resolve_input, operator.resolve_execution_options):
            ask(context(uri, dataset, {"size": 224}, view=view))
        assert calls.count("estimate") == 1
        assert calls.count("values") <= 4  # a few paths in three places, and whether there are samples at all
        calls.clear()


@pytest.mark.parametrize("name", ["split_class", "hide_classes", "rename_classes", "compare_runs"])
def test_a_form_asks_for_runs_and_classes_once(foo, dataset, fill, context, monkeypatch, name):
    fill("first", images=2)
    fill("second", 1, images=2)
    uri, read, counted = f"{PLUGIN_NAME}/{name}", [], []
    for owner, method, calls in ((dataset, "list_runs", read), (dataset.view(), "aggregate", counted)):
        original = getattr(type(owner), method)

        def call(*args, original=original, calls=calls, **options):
            calls.append(options.get("method"))
            return original(*args, **options)

        monkeypatch.setattr(type(owner), method, call)
    monkeypatch.setattr(type(dataset), "aggregate", type(dataset.view()).aggregate)
    foo.get_operator(uri).resolve_input(context(uri, dataset, {"class_id": "1"}))
    assert read.count("pseudomask") == 1
    assert len(counted) <= 2  # when a sample was changed last, and the figures
