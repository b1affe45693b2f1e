"""Checkpoint files of anybody, read as data: sizes are bounded, no code runs, the backbone is found inside.

Training code wraps a backbone in many ways: ``teacher`` beside ``student``, ``model``, ``state_dict``,
prefixes of distributed and compiled modules (``module.``, ``_orig_mod.``), blocks in chunks
(``blocks.0.3.``). Nested dicts count as one list of dotted names here, and the backbone is where
``patch_embed.proj.weight`` is.
"""

from __future__ import annotations

import argparse
import pickle
import re
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["MAX_FILE_BYTES", "backbone_names", "first_line", "guess_architecture", "read_checkpoint"]

MAX_FILE_BYTES = 32 << 30
"""Largest file that is read: a training checkpoint of ViT-g with its optimizer has about 20 GB."""
MAX_HEADER_BYTES = 16 << 20  # of safetensors; a ViT's has 50 kB
MAX_PICKLE_BYTES = 64 << 20  # names and shapes in a .pth; a training checkpoint's have 1 MB
MAX_NAMES, MAX_NESTING = 200_000, 6
ANCHOR = "patch_embed.proj.weight"
# wrappers that may stand anywhere in a name and say nothing about what they wrap
_TRANSPARENT = re.compile(r"(^|\.)(?:_orig_mod|module|_fsdp_wrapped_module|_forward_module)(?=\.)")
_CHUNKED = re.compile(r"blocks\.(\d+)\.(\d+)\.(.+)")
_AVERAGED = frozenset({"teacher", "ema", "model_ema", "teacher_state_dict"})
_TRAINED = frozenset({"student", "gram", "gram_teacher"})


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read the backbone in a ``.safetensors`` or ``.pth`` file as a flat ``name -> tensor`` dict on the CPU.

    Of a training checkpoint it is the teacher's, without heads; see :func:`backbone_names`. Pickles are read
    with ``weights_only=True``, and tensors only as they are used.

    Raises:
        UsageError: no such file, too large, damaged, or it holds no tensors.
    """
    import torch

    _check_file(path)
    try:
        tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    except UsageError:
        raise
    except Exception as error:  # the readers raise many types; all mean "not a usable checkpoint"
        raise UsageError(f"{path} is not a readable checkpoint: {first_line(error):.300}") from error
    if not tensors:
        raise UsageError(f"{path} holds no tensors")
    for name, tensor in tensors.items():
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.is_complex():
            raise UsageError(f"{path} is not a readable checkpoint: {name[:80]} is no plain tensor")
        # a view may repeat one number a billion times
        if tensor.numel() * tensor.element_size() > path.stat().st_size:
            raise UsageError(f"{path} is not a readable checkpoint: {name[:80]} is larger than the file")
    return tensors


def _check_file(path: Path) -> None:
    try:
        info = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"no weights file at {path} ({reason})") from error
    if not stat.S_ISREG(info.st_mode):
        raise UsageError(f"no weights file at {path}: not a regular file")
    if info.st_size > MAX_FILE_BYTES:
        raise UsageError(f"{path} is too large for a checkpoint: {info.st_size:,} bytes")
    if info.st_size == 0:
        raise UsageError(f"{path} is not a readable checkpoint: it is empty")


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import safe_open

    with path.open("rb") as file:
        head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if length > MAX_HEADER_BYTES:
        raise UsageError(f"{path} is not a readable checkpoint: its header claims {length:,} bytes")
    with safe_open(str(path), framework="pt", device="cpu") as file:
        return {name: file.get_tensor(theirs) for name, theirs in backbone_names(file.keys()).items()}


def _read_torch(path: Path) -> dict[str, torch.Tensor]:
    import torch

    with path.open("rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    if is_archive:
        _check_archive(path)
    with torch.serialization.safe_globals([argparse.Namespace]):  # DINO's checkpoints hold one; runs no code
        # mapped, not read: of a training checkpoint of gigabytes only the backbone is wanted
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of old pickles: what counts is whether they can be read
                document = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
        except (pickle.UnpicklingError, KeyError) as error:
            # torch's own words advise to run whatever code the file holds
            raise UsageError(
                f"{path} is not a readable checkpoint: damaged, or it holds more than tensors, such as a "
                "pickled model, which could run code. Save model.state_dict() as .safetensors"
            ) from error
    found = dict(_named_tensors(document))
    return {name: found[theirs] for name, theirs in backbone_names(found).items()}


def _check_archive(path: Path) -> None:
    """Refuse an archive that unpacks to more than it is; ``torch.save`` compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise UsageError(f"{path} is not a readable checkpoint: a compressed archive")
            if entry.filename.endswith("data.pkl") and entry.file_size > MAX_PICKLE_BYTES:
                raise UsageError(f"{path} is not a readable checkpoint: its index is too large")


def _named_tensors(document: object) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors in nested dicts with their dotted names; what else is there does not matter."""
    import torch

    level, room = [("", document)] if isinstance(document, dict) else [], MAX_NAMES + 1
    for _ in range(MAX_NESTING):
        names = ((prefix + key, held[key]) for prefix, held in level for key in held if isinstance(key, str))
        named = list(islice(names, room))
        room -= len(named)
        if not room:
            raise UsageError(f"more than {MAX_NAMES:,} names")
        yield from ((name, entry) for name, entry in named if torch.is_tensor(entry))
        level = [(f"{name}.", entry) for name, entry in named if isinstance(entry, dict)]


def backbone_names(names: Iterable[str]) -> dict[str, str]:
    """Find a backbone among the dotted names of all tensors of a checkpoint.

    Where there are several, the averaged one (``teacher``, ``ema``) is taken, else any that is not the
    ``student``, else the shortest. Heads are left out.

    Returns:
        Name in the backbone -> name in the checkpoint. All names where no backbone is to be seen.
    """
    plain = {_TRANSPARENT.sub(r"\1", name).replace("..", ".").lstrip("."): name for name in names}
    prefixes = (name.removesuffix(ANCHOR) for name in plain if f".{name}".endswith(f".{ANCHOR}"))
    prefix = min(prefixes, key=_preference, default="")
    ours = {name[len(prefix) :]: theirs for name, theirs in plain.items() if name.startswith(prefix)}
    return _in_one_row({name: theirs for name, theirs in ours.items() if not name.startswith("head.")})


def _preference(prefix: str) -> tuple[int, int, str]:
    parts = set(prefix.split("."))
    rank = 0 if parts & _AVERAGED else 2 if parts & _TRAINED else 1
    return rank, len(prefix), prefix


def _in_one_row(names: dict[str, str]) -> dict[str, str]:
    """Number the blocks of all chunks (``blocks.CHUNK.BLOCK.``) through, wherever BLOCK starts to count."""
    parts = {name: match for name in names if (match := _CHUNKED.fullmatch(name))}
    pairs = sorted({(int(match[1]), int(match[2])) for match in parts.values()})
    rank = {pair: number for number, pair in enumerate(pairs)}
    renamed = {}
    for name, theirs in names.items():
        match = parts.get(name)
        renamed[f"blocks.{rank[int(match[1]), int(match[2])]}.{match[3]}" if match else name] = theirs
    return renamed


def guess_architecture(state: Mapping[str, torch.Tensor]) -> str:
    """Name the timm architecture that a ViT state dict (timm, DINO or DINOv2 key names) belongs to.

    A ViT of width 384 or 768 without layer scale is taken for DINO; other pretrainings of that architecture
    (augreg, ...) want other input colours: name them, ``TIMM_NAME=PATH``.

    Raises:
        UsageError: the tensors are not those of a DINO, DINOv2, DINOv3 or timm ViT.
    """
    weight = state.get(ANCHOR)
    if weight is None or weight.ndim != 4:
        raise UsageError(f"not a ViT with patch tokens (no {ANCHOR}); use TIMM_NAME=PATH")
    sizes = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1536: "giant"}
    width, patch = int(weight.shape[0]), int(weight.shape[-1])
    if width not in sizes:
        raise UsageError(f"no known ViT has width {width}; name the architecture: TIMM_NAME=PATH")
    registers = state.get("reg_token", state.get("register_tokens"))
    if registers is not None and registers.ndim != 3:
        raise UsageError(f"the register tokens have shape {tuple(registers.shape)}, not (1, N, {width})")
    if any(".ls1." in key for key in state):
        suffix = f"_reg{registers.shape[1]}" if registers is not None else ""
        return f"vit_{sizes[width]}_patch{patch}{suffix}_dinov2"
    if registers is not None and "pos_embed" not in state:
        return f"vit_{sizes[width]}_patch{patch}_dinov3"
    tag = ".dino" if sizes[width] in ("small", "base") else ""
    return f"vit_{sizes[width]}_patch{patch}_224{tag}"


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
