"""The stream of features: files through the network, once where they can be kept, batch by batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..common.parallel import batched
from ..common.stamps import file_stamp
from ..errors import ImageReadError
from ..images.boxes import Box, crop_square
from ..images.content import content_rank, read_unchanged
from ..images.listing import ImageItem
from ..images.reading import resize_image
from .crops import CropEncoder
from .loading import Loaded, Loaders, load_image
from .memo import MemoFolder, ScratchMemo
from .types import FeatureBatch, FeatureSource, ImageFeatures, NoMemo

if TYPE_CHECKING:
    import torch

    from .backbones import Backbone
    from .store import FeatureStore

__all__ = ["KEPT_BYTES", "ImageFeatureSource", "draw", "feature_bytes", "store_spec"]

KEPT_BYTES = 3 << 29  # of features in memory, from one pass of a fit to the next: 400 images at 448 px
AHEAD = 2  # batches that are decoded in advance


class ImageFeatureSource(FeatureSource):
    """Features of a list of image files; a :class:`~.types.FeatureSource`.

    Args:
        items: the images, in the order in which they are yielded.
        backbone: turns pixels into features.
        layers: layers that the method wants, as it names them.
        size: side of the square network input in pixels; rounded to a multiple of the patch size.
        crop_size: side of the square input for region crops.
        batch_size: images in one forward pass; may be lowered meanwhile, where memory runs short.
        store: keeps features on disk between passes and runs; ``None`` for none.
        memo_dir: where a fit keeps arrays that it derives from images; ``None`` keeps none.
        kept_bytes: features that are kept in memory from one pass to the next.
        loaders: who reads and decodes.

    Attributes:
        side: of the pixels that images are read at; as ``size``, unless images are seen in tiles, too.
        failures: key -> reason, for images that could not be read so far.
        forwards: images that went through the network so far.
    """

    def __init__(
        self,
        items: Sequence[ImageItem],
        backbone: Backbone,
        layers: Sequence[str],
        *,
        size: int = 448,
        crop_size: int = 168,
        batch_size: int = 4,
        store: FeatureStore | None = None,
        memo_dir: Path | None = None,
        kept_bytes: int = KEPT_BYTES,
        loaders: Loaders | None = None,
    ) -> None:
        self.items = list(items)
        self.backbone = backbone
        self.resolved = {name: backbone.resolve_layer(name) for name in layers}
        self._layers = sorted(set(self.resolved.values()))
        self.size = self.side = backbone.round_size(size)
        self.crop_size = backbone.round_size(crop_size)
        self.batch_size = batch_size
        self.store = store
        self.loaders = loaders or Loaders()
        self.failures: dict[str, str] = {}
        self.forwards = 0
        self.room = max(1, kept_bytes // feature_bytes(self._layers, self.grid, backbone.dim))
        self._memos = MemoFolder(memo_dir) if memo_dir is not None else None
        self._seen: dict[str, Loaded] = {}
        self._kept: dict[str, dict[str, np.ndarray]] = {}
        self._paths = {item.key: item.path for item in self.items}
        self._encode_crops = CropEncoder(backbone, max(batch_size, 4), store)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of the network input, (h, w)."""
        side = self.size // self.backbone.patch_size
        return side, side

    # ------------------------------------------------------------------ the stream of a fit

    def batches(
        self, keys: Collection[str] | None = None, *, skip: Callable[[str], bool] | None = None
    ) -> Iterator[FeatureBatch]:
        """Yield the readable images, or those of these keys, in batches; features are kept as there is room.

        Those of which ``skip`` is true are left out, see :class:`~.types.FeatureSource`.

        Batches are cut from the list of readable images, in order, whatever is kept of them: on devices where
        rounding depends on the batch, an interrupted pass comes out the same.
        """
        loaded = self.load(keys, known=self.knows)
        for group in batched(
            (one for one in loaded if skip is None or not skip(one.digest)), self.batch_size
        ):
            if len(batch := self.encode(group, keep=True)):
                yield batch

    def opening(self) -> FeatureSource:
        """Return a uniform part of the images that fits in memory, see :class:`~.types.FeatureSource`."""
        return self.sample(self.room, seed=0)

    def sample(self, n: int, seed: int) -> FeatureSource:
        """Return ``n`` of the images, drawn uniformly by their content, or all that there are."""
        if len(self.items) <= n:
            return self
        return _Part(self, draw(self.items, n, seed))

    def load(
        self,
        keys: Collection[str] | None = None,
        *,
        guide_side: int = 0,
        known: Callable[[str], bool] | None = None,
    ) -> Iterator[Loaded]:
        """Yield the readable images, or those of these keys, in order, decoded ahead.

        Args:
            keys: only these; ``None`` for all.
            guide_side: side of the squeezed photograph that refinement follows, see :class:`Loaded`.
            known: tells by the digest whether an image need not be decoded; that takes threads. One that has
                been seen before is then not even read.
        """
        wanted = self.items if keys is None else (item for item in self.items if item.key in keys)
        items = (item for item in wanted if item.key not in self.failures)
        function: Callable[[ImageItem], Loaded | ImageReadError]
        function = partial(load_image, side=self.side, guide_side=guide_side)
        if known is not None and not self.loaders.processes:
            function = partial(self._load, known=known)
        for item, found in self.loaders.map(function, items, AHEAD * self.batch_size):
            if isinstance(found, Loaded):
                yield found
            else:
                self.failures[item.key] = found.reason

    def _load(self, item: ImageItem, known: Callable[[str], bool]) -> Loaded | ImageReadError:
        seen = self._seen.get(item.key)
        # one that is gone keeps what was known of it: its features may be all that is needed
        if seen is not None and file_stamp(item.path) in (seen.stamp, "") and known(seen.digest):
            return seen
        return load_image(item, self.side, known=known)

    def at_hand(self, item: ImageItem) -> bool:
        """Tell whether an image was seen before and its features are still here."""
        seen = self._seen.get(item.key)
        return seen is not None and self.knows(seen.digest)

    def knows(self, digest: str) -> bool:
        """Tell whether the features of an image are at hand."""
        stored = self.store is not None and self.store.has(digest, self._layers)
        return stored or digest in self._kept

    # ------------------------------------------------------------------ one batch

    def encode(
        self, group: Sequence[Loaded], backbone: Backbone | None = None, *, keep: bool = False
    ) -> FeatureBatch:
        """Return the features of loaded images: those that are known, the others from the network.

        An image whose pixels are needed and cannot be read any more is left out and added to
        :attr:`failures`.

        Args:
            group: the images.
            backbone: the copy of the backbone to use, ``None`` for the first.
            keep: keep the features in memory while there is room, and let memos of the images stay on disk.
        """
        backbone = backbone or self.backbone
        if keep:
            bare = (replace(loaded, pixels=None, guide=None, layers=None) for loaded in group)
            self._seen |= {loaded.item.key: loaded for loaded in bare}
            for loaded in group:
                if loaded.layers is not None:  # others have computed them
                    self._note(1)
                    if len(self._kept) < self.room:
                        self._kept[loaded.digest] = loaded.layers
        known = [self._known(loaded) for loaded in group]
        pixels = [None if found else self._pixels(loaded) for loaded, found in zip(group, known, strict=True)]
        rows = [row for row, loaded in enumerate(group) if loaded.item.key not in self.failures]
        fresh = [row for row in rows if known[row] is None]
        computed: dict[str, torch.Tensor] = {}
        if fresh:
            stacked = np.stack([array for array in pixels if array is not None])
            computed = self.forward(stacked, self._layers, backbone)
            self._note(len(fresh))
            self._keep([group[row].digest for row in fresh], computed, in_memory=keep)
        if len(fresh) < len(rows):
            computed = _joined([known[row] for row in rows], computed, self._layers, backbone.device)
        tensors = {name: computed[layer] for name, layer in self.resolved.items()} if rows else {}
        images = [self.describe(group[row], _Row(tensors, n), keep=keep) for n, row in enumerate(rows)]
        return FeatureBatch(images, tensors)

    def forward(
        self, pixels: np.ndarray | Sequence[np.ndarray], layers: list[str], backbone: Backbone | None = None
    ) -> dict[str, torch.Tensor]:
        """Run (n, S, S, 3) pixels through the network; returns layer -> (n, ...) tensor on its device.

        A GPU rounds otherwise for another number of images: a batch that is not full is filled up there.
        """
        backbone = backbone or self.backbone
        pixels = np.asarray(pixels)
        missing = self.batch_size - len(pixels)
        if backbone.device == "cpu" or missing <= 0:
            return backbone.extract_tensors(pixels, layers)
        filled = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), pixels.dtype)])
        tensors = backbone.extract_tensors(filled, layers)
        return {layer: tensor[: len(pixels)] for layer, tensor in tensors.items()}

    def describe(
        self, loaded: Loaded, layers: Mapping[str, np.ndarray] | None = None, *, keep: bool = False
    ) -> ImageFeatures:
        """Return an image with these features, or without any for a look at its memo."""
        memo = self._memos.of(loaded.digest) if self._memos is not None else NoMemo()
        return ImageFeatures(
            key=loaded.item.key,
            digest=loaded.digest,
            size=loaded.size,
            grid=self.grid,
            layers=layers or {},
            read_image=partial(read_unchanged, loaded.item.path, loaded.stamp),
            crop_cls=partial(self._crop_cls, loaded),
            encode=self._encode_crops,
            memo=memo if keep else ScratchMemo(memo),
            stamp=loaded.stamp,
        )

    def _known(self, loaded: Loaded) -> dict[str, np.ndarray] | None:
        kept = loaded.layers or self._kept.get(loaded.digest)
        if kept is None and self.store is not None:
            return self.store.get(loaded.digest, self._layers)
        return kept

    def _pixels(self, loaded: Loaded) -> np.ndarray | None:
        if loaded.pixels is not None:
            return loaded.pixels
        try:  # it was known, and is not any more: the store is full, or was cleared
            return resize_image(read_unchanged(loaded.item.path, loaded.stamp), self.side, self.side)
        except ImageReadError as error:
            self.failures[loaded.item.key] = error.reason
            return None

    def _note(self, forwards: int) -> None:
        with self._lock:
            self.forwards += forwards

    def _keep(self, digests: list[str], tensors: dict[str, torch.Tensor], *, in_memory: bool) -> None:
        if self.store is None and not (in_memory and len(self._kept) < self.room):
            return
        arrays = {layer: tensor.cpu().numpy() for layer, tensor in tensors.items()}
        for n, digest in enumerate(digests):
            own = {layer: array[n] for layer, array in arrays.items()}
            if self.store is not None:
                self.store.put(digest, own)
            elif len(self._kept) < self.room:
                self._kept[digest] = {layer: array.copy() for layer, array in own.items()}

    def forget(self) -> None:
        """Free the features that are kept in memory."""
        self._kept.clear()

    def changed(self, image: ImageFeatures) -> bool:
        """Tell whether the file of an image that this source gave is another one by now."""
        return file_stamp(self._paths[image.key]) not in (image.stamp, "")

    def _crop_cls(self, loaded: Loaded, boxes: list[Box]) -> np.ndarray:
        """Return (n, D) float32 CLS features of the boxes' crops, batched through the backbone."""
        if not boxes:
            return np.zeros((0, self.backbone.dim), np.float32)
        image = read_unchanged(loaded.item.path, loaded.stamp)
        crops = np.stack([crop_square(image, box, self.crop_size) for box in boxes])
        return self._encode_crops(crops, ["cls"])["cls"]


@dataclass(frozen=True, eq=False)
class _Part(FeatureSource):
    """Some of the images of a source."""

    whole: ImageFeatureSource
    items: list[ImageItem]

    def __len__(self) -> int:
        return len(self.items)

    def batches(self, *, skip: Callable[[str], bool] | None = None) -> Iterator[FeatureBatch]:
        """Yield them in batches."""
        return self.whole.batches({item.key for item in self.items}, skip=skip)

    def opening(self) -> FeatureSource:
        """Return as many of them as fit in memory."""
        room = self.whole.room
        return self if len(self) <= room else _Part(self.whole, draw(self.items, room, seed=0))


class _Row(Mapping[str, np.ndarray]):
    """The layers of one image of a batch, brought to memory when they are asked for."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], row: int) -> None:
        self._tensors = tensors
        self._row = row
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = self._tensors[name][self._row].cpu().numpy()
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _joined(
    known: list[dict[str, np.ndarray] | None], fresh: dict[str, torch.Tensor], layers: list[str], device: str
) -> dict[str, torch.Tensor]:
    """Return the layers of a batch of which some images are known, in their order."""
    import torch

    joined = {}
    for layer in layers:
        rest = iter(fresh.get(layer, ()))
        rows = (
            next(rest) if arrays is None else torch.from_numpy(np.array(arrays[layer])).to(device)
            for arrays in known
        )
        joined[layer] = torch.stack(list(rows))
    return joined


def draw(items: Sequence[ImageItem], n: int, seed: int) -> list[ImageItem]:
    """Return ``n`` of the images, or all that there are, drawn uniformly by their content, in their order."""
    if len(items) <= n:
        return list(items)
    ranks = {item.key: content_rank(item.path, seed) for item in items}
    chosen = {item.key for item in sorted(items, key=lambda item: (ranks[item.key], item.key))[:n]}
    return [item for item in items if item.key in chosen]


def feature_bytes(layers: Collection[str], grid: tuple[int, int], dim: int) -> int:
    """Return the bytes of the features of one image; layers count once under their canonical names."""
    patches = grid[0] * grid[1]
    own = {"cls": 4 * dim, "attn": 4 * patches}
    return sum(own.get(layer, 2 * patches * dim) for layer in set(layers))


def store_spec(backbone: Backbone, size: int) -> dict[str, str | int]:
    """Return what a feature store is keyed by, besides image and layer (JSON-serialisable)."""
    return {**backbone.fingerprint(), "size": backbone.round_size(size), "resize": "bicubic"}
