"""timm without torch's compiler, which is a third of the time that its import takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

__all__ = ["import_timm"]

#: torchvision, which timm imports, takes one function from here: whether a device can compile. With it
#: come sympy, triton and torch.distributed.
_COMPILER = "torch._dynamo.utils"


def import_timm() -> ModuleType:
    """Import timm; torch's compiler is imported when something first needs it."""
    if _COMPILER not in sys.modules and "torchvision" not in sys.modules:
        with _compiler_later():
            import timm
    import timm

    return timm


@contextmanager
def _compiler_later() -> Iterator[None]:
    import torch

    stand_in = ModuleType(_COMPILER)
    vars(stand_in).update(is_compile_supported=_is_compile_supported, __getattr__=_from_compiler)
    sys.modules[_COMPILER] = stand_in
    try:
        with patch.object(torch.compiler, "disable", _disable_later):
            yield
    finally:
        _take_away()


def _take_away() -> None:
    if not hasattr(sys.modules.get(_COMPILER), "__file__"):
        sys.modules.pop(_COMPILER, None)


def _from_compiler(name: str) -> Any:
    if name.startswith("__"):  # what the import system asks every module for
        raise AttributeError(name)
    _take_away()
    import torch._dynamo.utils

    return getattr(torch._dynamo.utils, name)


def _is_compile_supported(device_type: str) -> bool:
    return bool(_from_compiler("is_compile_supported")(device_type))


def _disable_later(fn: Callable | None = None, recursive: bool = True, **_reason: object) -> Callable:
    """Do what ``torch.compiler.disable`` does at the first call, as torch does for its own functions."""
    import torch

    return torch._disable_dynamo(fn, recursive)
