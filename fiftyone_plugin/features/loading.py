"""From image files to network input: read and decoded ahead, in threads or in worker processes, in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from ..common.parallel import batched, end_with, starting_workers, usable_cores
from ..errors import ImageReadError
from ..images.content import read_content
from ..images.listing import ImageItem
from ..images.reading import resize_image

__all__ = ["Loaded", "Loaders", "load_image"]

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 8  # images handed to a process at once: each costs a message


@dataclass(frozen=True)
class Loaded:
    """An image on its way into the network.

    Attributes:
        item: what it is called.
        digest: sha256 of the file's bytes.
        size: native (H, W).
        stamp: ``size:mtime_ns`` of the file.
        pixels: (S, S, 3) uint8 network input; ``None`` where it was not asked for.
        guide: (G, G, 3) uint8, the photograph squeezed to the square that refinement follows; ``None`` where
            that can be made of ``pixels``.
    """

    item: ImageItem
    digest: str
    size: tuple[int, int]
    stamp: str
    pixels: np.ndarray | None = field(default=None, repr=False)
    guide: np.ndarray | None = field(default=None, repr=False)
    layers: dict[str, np.ndarray] | None = field(default=None, repr=False)


def load_image(
    item: ImageItem, side: int, guide_side: int = 0, known: Callable[[str], bool] | None = None
) -> Loaded | ImageReadError:
    """Read, hash, decode and resize one image file; an error is returned, as it must not end a chunk.

    Args:
        item: the image.
        side: S, pixels.
        guide_side: G, pixels; 0 for none, and none is made where S is as large.
        known: tells by the digest that pixels are not needed; then only the header is decoded.
    """
    try:
        content = read_content(item.path)
        if known is not None and known(content.digest):
            return Loaded(item, content.digest, content.size, content.stamp)
        native = content.decode()
    except ImageReadError as error:
        return error
    guide = resize_image(native, guide_side, guide_side) if guide_side > side else None
    pixels = resize_image(native, side, side)
    return Loaded(item, content.digest, native.shape[:2], content.stamp, pixels, guide)


@dataclass(frozen=True)
class Loaders:
    """Who loads, and how far ahead.

    Attributes:
        workers: threads or processes; 0 for a few threads.
        processes: use processes: threads of one process decode some 700 images a second at most, as what
            Pillow does around its decoders holds Python's lock.
    """

    workers: int = 0
    processes: bool = False

    def map(self, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[tuple[T, R]]:
        """Yield every item and what ``function`` returns of it, in order, up to ``ahead`` items in advance.

        For processes, ``function`` and what it returns must be picklable.
        """
        chunk = CHUNK if self.processes else 1
        workers = self.workers or min(4, usable_cores())
        with ExitStack() as stack:
            pool = self._open(workers, stack)
            waiting: deque[tuple[list[T], Future[list[R]]]] = deque()
            stack.callback(lambda: [future.cancel() for _, future in waiting])
            chunks = batched(items, chunk)
            while True:
                while len(waiting) * chunk < max(ahead, workers * chunk) and (part := next(chunks, None)):
                    with starting_workers() if self.processes else nullcontext():
                        waiting.append((part, pool.submit(_each, function, part)))
                if not waiting:
                    return
                part, future = waiting.popleft()
                yield from zip(part, future.result(), strict=True)

    def _open(self, workers: int, stack: ExitStack) -> Executor:
        if not self.processes:
            return stack.enter_context(ThreadPoolExecutor(workers, thread_name_prefix="load"))
        from joblib.externals.loky import ProcessPoolExecutor  # needs no guard in the caller's script

        processes = ProcessPoolExecutor(workers, initializer=end_with, initargs=(os.getpid(),))
        stack.callback(partial(processes.shutdown, wait=True, kill_workers=True))
        return processes


def _each(function: Callable[[T], R], items: list[T]) -> list[R]:
    return [function(item) for item in items]
