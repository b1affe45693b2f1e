"""Touching objects of one class, apart: a connected part is cut at abrupt necks between two wide places.

Wide places are basins of a watershed of the distance to the edge (Vincent and Soille, 1991), one for each
maximum that stands out by a share of itself: h-maxima of the distance's logarithm (Soille, Morphological
Image Analysis, 2nd ed., 6.3.4), so that the size of things does not matter. Neighbours are joined unless what
is between them is much narrower than both: what tapers, as limbs do, stays whole.
"""

from __future__ import annotations

import numpy as np

from .segments import find_segments

__all__ = ["split_touching"]

NECK = 0.4  # of the radius of the narrower of two wide places, below which they are two objects
SHARE = 0.1  # of a connected part that a wide place has at least, to be another object; less is a limb
BULGE = 0.85  # of the radius of a wide place, below which it ends
SMALL = 200  # pixels of a part that is not looked at
SIDE = 512  # pixels of the longer side of a part at which it is cut; larger ones are reduced


def split_touching(labels: np.ndarray, *, connectivity: int = 4) -> np.ndarray:
    """Number the objects of a mask.

    Args:
        labels: (H, W) integers within 0..65,535; 0 belongs to no object.
        connectivity: 4 or 8: what is connected.

    Returns:
        (H, W) int64, 0 where the mask is, else 1..n; an object has one label.
    """
    from scipy import ndimage

    parts = find_segments(labels, connectivity=connectivity).to_map()
    objects = np.zeros_like(parts)
    count = 0
    for part, box in enumerate(ndimage.find_objects(parts), 1):
        if box is None:
            continue
        inside = parts[box] == part
        found = _cut(inside)
        objects[box][inside] = count + found[inside]
        count += int(found.max())
    return objects


def _cut(inside: np.ndarray) -> np.ndarray:
    """Return the (h, w) number of the object of every pixel of a part, from 1."""
    one = inside.astype(np.int64)
    if np.count_nonzero(inside) < SMALL:
        return one
    step = -(-max(inside.shape) // SIDE)
    coarse = inside[step // 2 :: step, step // 2 :: step]
    found = _watershed(coarse) if coarse.any() else coarse
    if found.max(initial=0) < 2:
        return one
    return found if step == 1 else _enlarged(found, inside.shape, step)


def _watershed(inside: np.ndarray) -> np.ndarray:
    """Return the (h, w) objects of a part, numbered from 1 without gaps; 0 outside."""
    from scipy import ndimage
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    distance = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    basins, count = _basins(inside, distance)
    if count < 2:
        return np.asarray(inside, np.int64)
    pairs, widths = _necks(basins, distance)
    peaks = ndimage.maximum(distance, basins, np.arange(count + 1))[pairs].min(1)
    areas = np.bincount(basins.ravel())[pairs].min(1)
    joined = pairs[(widths >= NECK * peaks) | (areas < SHARE * np.count_nonzero(inside))]
    graph = coo_matrix((np.ones(len(joined), bool), tuple(joined.T)), (count + 1, count + 1))
    objects = np.asarray(connected_components(graph, directed=False)[1], np.int64)
    return np.asarray(objects[basins])  # what is outside, 0, is joined to nothing and comes first


def _basins(inside: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the (h, w) number of the wide place of every pixel, from 1, and how many there are."""
    from scipy import ndimage
    from skimage.morphology import reconstruction
    from skimage.segmentation import watershed

    height = np.where(inside, np.log(np.maximum(distance, 1)), -1.0)
    depth = -np.log(BULGE)
    domes = height - reconstruction(height - depth * inside, height) >= depth - 1e-9
    seeds, count = ndimage.label(domes & inside, np.ones((3, 3)))
    basins: np.ndarray = watershed(-distance, seeds, mask=inside)
    return basins.astype(np.int64), int(count)


def _necks(basins: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (P, 2) pairs of basins that touch, in order, and the (P,) widest place between them."""
    found, wide = [], []
    for a, b in (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]):
        left, right = basins[a], basins[b]
        touch = (left != right) & (left > 0) & (right > 0)
        found.append(np.sort(np.stack([left[touch], right[touch]], 1), axis=1))
        wide.append(np.minimum(distance[a], distance[b])[touch])
    pairs, inverse = np.unique(np.concatenate(found), axis=0, return_inverse=True)
    widths = np.zeros(len(pairs))
    np.maximum.at(widths, inverse.ravel(), np.concatenate(wide))
    return pairs, widths


def _enlarged(found: np.ndarray, shape: tuple[int, ...], step: int) -> np.ndarray:
    """Return the objects of a reduced part in full size; what the reduced one lacks goes to the nearest."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(found == 0, return_distances=False, return_indices=True)
    whole = found[tuple(nearest)].repeat(step, 0).repeat(step, 1)
    pad = [(0, max(0, size - have)) for size, have in zip(shape, whole.shape, strict=True)]
    return np.asarray(np.pad(whole, pad, mode="edge")[: shape[0], : shape[1]])
