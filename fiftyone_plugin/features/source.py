"""The stream of features that methods read: from the store where they are, through the backbone where not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..common.files import atomic
from ..common.parallel import batched
from ..common.progress import Progress
from ..common.stamps import file_stamp
from ..errors import ImageChangedError, ImageReadError
from ..images.boxes import Box, crop_square
from ..images.listing import ImageItem
from ..images.reading import file_digest, image_size, read_image, resize_image
from .crops import CropEncoder
from .types import ImageFeatures

if TYPE_CHECKING:
    from .backbones import Backbone
    from .store import FeatureStore

__all__ = ["DirectoryMemo", "ImageFeatureSource", "read_unchanged", "store_spec"]

ATTEMPTS = 3  # at an image that is being changed


class DirectoryMemo:
    """Keeps derived arrays of one image as compressed ``.npz`` files, see :class:`~.types.Memo`."""

    def __init__(self, directory: Path, digest: str) -> None:
        self.directory = directory
        self.digest = digest

    def _path(self, name: str) -> Path:
        return self.directory / name / self.digest[:2] / f"{self.digest}.npz"

    def get(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the arrays, or ``None`` where there are none or the file is damaged."""
        try:
            with np.load(self._path(name)) as arrays:
                return dict(arrays)
        except Exception:  # not there; or damaged, of which numpy and zipfile tell by a dozen types
            return None

    def put(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write the arrays; the file appears whole or not at all."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as partial_path, partial_path.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Known:
    """What an image file held when it was first read, or had changed: digest, native (H, W), stamp."""

    digest: str
    size: tuple[int, int]
    stamp: str


@dataclass(frozen=True)
class _Decoded:
    item: ImageItem
    known: _Known
    pixels: np.ndarray | None  # (S, S, 3) uint8; None where the store has the features


class _LazyLayers(Mapping[str, np.ndarray]):
    """Layers of one image, loaded together when the first of them is asked for."""

    def __init__(self, names: Sequence[str], load: Callable[[], dict[str, np.ndarray]]) -> None:
        self._names = tuple(names)
        self._load = load
        self._arrays: dict[str, np.ndarray] | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        if self._arrays is None:
            self._arrays = self._load()
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class ImageFeatureSource:
    """Features of a list of image files; a :class:`~.types.FeatureSource`.

    Args:
        items: the images, in the order in which they are yielded.
        backbone: turns pixels into features.
        layers: layers that the method wants, as it names them.
        size: side of the square network input in pixels; rounded to a multiple of the patch size.
        crop_size: side of the square input for region crops.
        batch_size: images in one forward pass.
        store: keeps features between passes and runs; ``None`` computes them anew in every pass.
        memo_dir: where fitted methods keep derived arrays; ``None`` keeps none.

    Attributes:
        failures: key -> reason, for images that could not be read so far.
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
    ) -> None:
        self.items = list(items)
        self.backbone = backbone
        self.resolved = {name: backbone.resolve_layer(name) for name in layers}
        self.size = backbone.round_size(size)
        self.crop_size = backbone.round_size(crop_size)
        self.batch_size = batch_size
        self.store = store
        self.memo_dir = memo_dir
        self.failures: dict[str, str] = {}
        self._known: dict[str, _Known] = {}
        self._paths = {item.key: item.path for item in self.items}
        self._encode_crops = CropEncoder(backbone, max(batch_size, 4), store)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of the network input, (h, w)."""
        side = self.size // self.backbone.patch_size
        return side, side

    # ------------------------------------------------------------------ the stream

    def extract(self, progress: Progress) -> int:
        """Fill the store with what it lacks; returns the number of images computed. No-op without a store."""
        if self.store is None:
            return 0
        computed = 0
        with progress.stage("features", total=len(self.items)) as stage:
            for batch in self._batches(distinct=True):
                computed += sum(decoded.pixels is not None for decoded, _ in batch)
                stage.update(len(batch))
        return computed

    def __iter__(self) -> Iterator[ImageFeatures]:
        """Yield every readable image with its features at hand."""
        for batch in self._batches():
            for decoded, arrays in batch:
                yield self._features(decoded.item, decoded.known, self._named(arrays))

    def lazy(self, keys: set[str] | None = None) -> Iterator[ImageFeatures]:
        """Yield every readable image; its features are loaded or computed only if they are asked for.

        Args:
            keys: only these images, all if ``None``.
        """
        for item in self.items:
            if item.key in self.failures or (keys is not None and item.key not in keys):
                continue
            try:
                known = self._identify(item)
            except ImageReadError as error:
                self._fail(item, error)
                continue
            layers = _LazyLayers(list(self.resolved), partial(self._load_named, item, known))
            yield self._features(item, known, layers)

    def _features(self, item: ImageItem, known: _Known, layers: Mapping[str, np.ndarray]) -> ImageFeatures:
        features = ImageFeatures(
            key=item.key,
            digest=known.digest,
            size=known.size,
            grid=self.grid,
            layers=layers,
            read_image=partial(read_unchanged, item.path, known.stamp),
            crop_cls=partial(self._crop_cls, item, known),
            encode=self._encode_crops,
            stamp=known.stamp,
        )
        if self.memo_dir is not None:
            features.memo = DirectoryMemo(self.memo_dir, known.digest)
        return features

    def _named(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: arrays[resolved] for name, resolved in self.resolved.items()}

    def _load_named(self, item: ImageItem, known: _Known) -> dict[str, np.ndarray]:
        return self._named(self._load(item, known))

    def _stored_layers(self) -> list[str]:
        return sorted(set(self.resolved.values()))

    def _batches(self, distinct: bool = False) -> Iterator[list[tuple[_Decoded, dict[str, np.ndarray]]]]:
        """Yield batches of (image, its arrays); what the store lacks is computed and put there.

        With ``distinct``, copies of an image that came before are left out.

        Images are decoded ahead in threads. Groups are cut from the list of readable images, in order, and a
        group of which an interrupted pass has stored a part is computed as a whole: on devices where rounding
        depends on the batch, features still come out the same.
        """
        with ExitStack() as stack:
            for group in batched(self._decoded(stack, distinct), self.batch_size):
                computed = self._compute(group)
                yield [pair for decoded in group if (pair := self._with_arrays(decoded, computed))]

    def _compute(self, group: list[_Decoded]) -> dict[str, dict[str, np.ndarray]]:
        """Return key -> arrays of the images of a group that the store lacks, and put them there."""
        batch = [decoded for decoded in group if decoded.pixels is not None]
        if not batch:
            return {}
        if len(batch) < len(group) and self.backbone.device != "cpu":
            batch = [whole for decoded in group if (whole := self._with_pixels(decoded))]
        stacked = np.stack([decoded.pixels for decoded in batch if decoded.pixels is not None])
        arrays = self.backbone.extract(stacked, self._stored_layers())
        computed = {}
        for row, decoded in enumerate(batch):
            computed[decoded.item.key] = {name: array[row] for name, array in arrays.items()}
            if self.store is not None:
                self.store.put(decoded.known.digest, computed[decoded.item.key])
        return computed

    def _with_pixels(self, decoded: _Decoded) -> _Decoded | None:
        with suppress(ImageReadError):  # gone, but its features are known
            return decoded if decoded.pixels is not None else replace(decoded, pixels=self._pixels(decoded))
        return None

    def _with_arrays(
        self, decoded: _Decoded, computed: dict[str, dict[str, np.ndarray]]
    ) -> tuple[_Decoded, dict[str, np.ndarray]] | None:
        try:
            return decoded, computed.get(decoded.item.key) or self._load(decoded.item, decoded.known)
        except ImageReadError as error:
            self._fail(decoded.item, error)
            return None

    def _load(self, item: ImageItem, known: _Known) -> dict[str, np.ndarray]:
        """Return the arrays of one image; computed if the store lacks them, or has lost them meanwhile."""
        layers = self._stored_layers()
        stored = self.store.get(known.digest, layers) if self.store is not None else None
        if stored is not None:
            return stored
        pixels = self._pixels(_Decoded(item, known, None))
        return {name: array[0] for name, array in self.backbone.extract(pixels[None], layers).items()}

    def _pixels(self, decoded: _Decoded) -> np.ndarray:
        return resize_image(read_unchanged(decoded.item.path, decoded.known.stamp), self.size, self.size)

    def _decoded(self, stack: ExitStack, distinct: bool) -> Iterator[_Decoded]:
        """Yield the readable images in order, decoded ahead by a few threads."""
        seen: set[str] = set()
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode"))
        ahead: deque[tuple[ImageItem, Future[_Decoded]]] = deque()
        stack.callback(lambda: [future.cancel() for _, future in ahead])
        items = iter([item for item in self.items if item.key not in self.failures])
        while True:
            while len(ahead) < 2 * self.batch_size and (item := next(items, None)) is not None:
                ahead.append((item, pool.submit(self._decode, item)))
            if not ahead:
                return
            item, future = ahead.popleft()
            try:
                decoded = future.result()
            except ImageReadError as error:
                self._fail(item, error)
                continue
            if distinct and decoded.known.digest in seen:
                continue
            seen.add(decoded.known.digest)
            yield decoded

    def _decode(self, item: ImageItem) -> _Decoded:
        for _ in range(ATTEMPTS):
            known = self._identify(item)
            if self.store is not None and self.store.has(known.digest, self._stored_layers()):
                return _Decoded(item, known, None)
            with suppress(ImageChangedError):
                return _Decoded(item, known, self._pixels(_Decoded(item, known, None)))
        raise ImageChangedError(item.path)

    def _identify(self, item: ImageItem) -> _Known:
        """Return what is known of an image; it is looked at again when its file has changed.

        One that is gone keeps what was known of it: its features may be all that is needed.
        """
        known, stamp = self._known.get(item.key), file_stamp(item.path)
        for _ in range(ATTEMPTS):
            if known is not None and stamp in (known.stamp, ""):
                self._known[item.key] = known
                return known
            known = _Known(file_digest(item.path), image_size(item.path), stamp)
            stamp = file_stamp(item.path)  # it may have changed between the readings
        raise ImageChangedError(item.path)

    def changed(self, image: ImageFeatures) -> bool:
        """Tell whether the file of an image that this source gave is another one by now."""
        return file_stamp(self._paths[image.key]) not in (image.stamp, "")

    def _fail(self, item: ImageItem, error: ImageReadError) -> None:
        self.failures[item.key] = error.reason

    # ------------------------------------------------------------------ crops

    def _crop_cls(self, item: ImageItem, known: _Known, boxes: list[Box]) -> np.ndarray:
        """Return (n, D) float32 CLS features of the boxes' crops, batched through the backbone."""
        if not boxes:
            return np.zeros((0, self.backbone.dim), np.float32)
        image = read_unchanged(item.path, known.stamp)
        crops = np.stack([crop_square(image, box, self.crop_size) for box in boxes])
        return self._encode_crops(crops, ["cls"])["cls"]


def read_unchanged(path: str, stamp: str) -> np.ndarray:
    """Read an image whose file had this stamp when its features were computed; for use in workers too.

    Raises:
        ImageChangedError: it is another file by now.
        ImageReadError: as :func:`~fiftyone_plugin.images.reading.read_image`.
    """
    try:
        image = read_image(path)
    except ImageReadError as error:
        if file_stamp(path) not in (stamp, ""):  # half written, perhaps
            raise ImageChangedError(path) from error
        raise
    if file_stamp(path) not in (stamp, ""):
        raise ImageChangedError(path)
    return image


def store_spec(backbone: Backbone, size: int) -> dict[str, Any]:
    """Return what a feature store is keyed by, besides image and layer (JSON-serialisable)."""
    return {**backbone.fingerprint(), "size": backbone.round_size(size), "resize": "bicubic"}
