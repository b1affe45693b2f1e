"""timm's import leaves torch's compiler out, and takes nothing away from who needs it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from fiftyone_plugin.features.backbones.weights import load_model
from fiftyone_plugin.features.backbones.timm_import import import_timm

load_model(sys.argv[1], None)
assert "torch._dynamo" not in sys.modules, "the compiler came with the backbone"

import torch
import torchvision
assert torch.compiler.disable.__module__ == "torch.compiler"
boxes = torch.tensor([[0, 1, 1, 10, 10.0]])
assert torchvision.ops.roi_align(torch.ones(1, 3, 20, 20), boxes, 4).shape == (1, 3, 4, 4)
question = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert question("cpu") is True
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2.0, 2.0]
from timm.models.naflexvit import NaFlexRopeIterator
import torch._dynamo.utils
assert question("cpu") is torch._dynamo.utils.is_compile_supported("cpu")
assert import_timm() is sys.modules["timm"]
print("well")
"""


def test_the_compiler_comes_when_it_is_needed(tiny_weights):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, tiny_weights], capture_output=True, text=True
    )
    assert done.stdout == "well\n", done.stderr


def test_an_import_of_anything_else_from_the_compiler_gets_the_real_module():
    script = (
        "from fiftyone_plugin.features.backbones.timm_import import _compiler_later\n"
        "with _compiler_later():\n"
        "    from torch._dynamo.utils import same\n"
        "import sys; print(sys.modules['torch._dynamo.utils'].same is same)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
