"""Install the project with the oldest and the newest packages it allows, on several Pythons, and try it out.

python scripts/matrix.py
python scripts/matrix.py --python 3.11 --resolution lowest-direct --pin 'torch==2.13.0+cpu'

Every combination is resolved for its Python; it is installed and run only where uv finds or may fetch that
Python. The trial: the plugin is linked, pictures are labelled with weights made here, exported and read back.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
RESOLUTIONS = ("lowest-direct", "highest")
SHOWN = ("fiftyone", "numpy", "pillow", "scikit-learn", "timm", "torch")

TRIAL = """
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

import fiftyone_plugin as fop
from fiftyone_plugin.formats import read_masks

torch.manual_seed(0)
save_file(timm.create_model("vit_tiny_patch16_224", num_classes=0).state_dict(), "tiny.safetensors")
Path("photos").mkdir()
for number in range(4):
    rows, columns = np.mgrid[:96, :128]
    grey = ((rows // 24 + columns // 32 + number) % 3 * 90).astype(np.uint8)
    picture = np.stack([grey, np.roll(grey, number, 1), 255 - grey], 2)
    Image.fromarray(picture).save(f"photos/{number}.png")
for method in ("mosaic", "lightcluster"):
    settings = dict(method=method, classes=2, size=96, backbone="tiny.safetensors", jobs=1)
    run = fop.label("photos", out=method, **settings)
    assert len(run.labelled) == 4, run.skipped
    for format in ("coco-instances", "label-studio"):
        export = fop.export(method, out=f"{method}-{format}", format=format)
        file = "tasks.json" if format == "label-studio" else "annotations/instances.json"
        back = read_masks(Path(export.out) / file, f"{method}-{format}-back")
        assert len(back.masks) == 4, back.skipped
print("ok", sys.version.split()[0])
"""


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def resolve(uv: str, python: str, resolution: str, pins: Path) -> tuple[str, list[str]]:
    """Return what is wrong with a combination, if anything, and the requirements it leads to."""
    command = [uv, "pip", "compile", "-q", "--no-header", "--python-version", python]
    # the oldest of which there is a wheel for this Python
    command += ["--resolution", resolution, "--only-binary", ":all:"]
    done = run([*command, "--extra", "demo", "--constraint", str(pins), "pyproject.toml"], cwd=ROOT)
    lines = [line for line in done.stdout.splitlines() if "==" in line and not line.lstrip().startswith("#")]
    return ("" if done.returncode == 0 else done.stderr.strip(), [line.split(" ;")[0] for line in lines])


def install_and_try(uv: str, python: str, requirements: list[str]) -> str:
    """Install the requirements and the project into an environment of its own; return what went wrong."""
    with tempfile.TemporaryDirectory(prefix="pseudomask-matrix-") as folder:
        if run([uv, "venv", "-q", "--python", python, f"{folder}/venv"]).returncode:
            return "no such Python here"
        (Path(folder) / "requirements.txt").write_text("\n".join(requirements))
        bin_ = Path(folder) / "venv" / ("Scripts" if os.name == "nt" else "bin")
        into = [uv, "pip", "install", "-q", "--python", str(bin_ / "python")]
        steps = (
            [*into, "--no-deps", "-r", f"{folder}/requirements.txt"],
            [*into, "--no-deps", str(ROOT)],
            [uv, "pip", "check", "-q", "--python", str(bin_ / "python")],
            [str(bin_ / "pseudomask"), "plugin", "install"],
            [str(bin_ / "python"), "-c", TRIAL],
        )
        environment = {
            **os.environ,
            "FIFTYONE_PLUGINS_DIR": f"{folder}/plugins",
            "PSEUDOMASK_CACHE": f"{folder}/cache",
            "HF_HUB_OFFLINE": "1",
        }
        environment.pop("PYTHONPATH", None)
        for step in steps:
            done = run(step, cwd=folder, env=environment)
            if done.returncode:
                return f"{' '.join(step)[-80:]!r}: {(done.stderr or done.stdout).strip()[-600:]}"
    return ""


def main() -> int:
    """Try every combination and print a line each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", nargs="+", default=PYTHONS)
    parser.add_argument("--resolution", nargs="+", choices=RESOLUTIONS, default=RESOLUTIONS)
    parser.add_argument(
        "--pin", nargs="+", default=[], metavar="REQUIREMENT", help="e.g. a torch without CUDA"
    )
    parser.add_argument("--resolve-only", action="store_true", help="install nothing")
    args = parser.parse_args()
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        print("uv is not installed: pip install uv", file=sys.stderr)
        return 2
    failed = False
    for python in args.python:
        for resolution in args.resolution:
            begin = time.perf_counter()
            with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
                pins.write("\n".join(args.pin))
                pins.flush()
                problem, requirements = resolve(uv, python, resolution, Path(pins.name))
            if not problem and not args.resolve_only:
                problem = install_and_try(uv, python, requirements)
            skipped = problem == "no such Python here"
            failed |= bool(problem) and not skipped
            state = "resolves" if skipped or (args.resolve_only and not problem) else problem or "ok"
            shown = " ".join(line for line in requirements if line.split("==")[0] in SHOWN)
            print(f"{python} {resolution}: {state} ({time.perf_counter() - begin:.0f} s) {shown}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
