"""Logits at the network's size to class ids at the photo's size."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Ids = NDArray[np.uint8]

# From this many pixels on, looking for uniform cells costs less than it saves.
CELLS_FROM = 1_000_000


def to_mask(logits: NDArray[np.float32], width: int, height: int) -> Ids:
    """float32[h,w,classes] logits → uint8[height,width] class ids.

    Interpolates the logits, not the ids (bilinear, half-pixel centres), so that edges are smooth. A pixel gets the
    class of its largest logit, and the lowest id among equals.
    """
    planes = [np.ascontiguousarray(logits[..., index]) for index in range(logits.shape[-1])]
    if width * height < CELLS_FROM or min(logits.shape[:2]) < 2:
        return _largest(_resized(plane, width, height) for plane in planes)
    return _by_cells(logits, planes, width, height)


def class_counts(mask: Ids, classes: int) -> list[int]:
    """How many pixels of the mask each class has."""
    # np.bincount would copy the mask to int64 first.
    counts = [int(np.count_nonzero(mask == index)) for index in range(classes - 1)]
    return [*counts, mask.size - sum(counts)]


def _resized(plane: Plane, width: int, height: int) -> Plane:
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _largest(planes: Iterable[Plane]) -> Ids:
    """The index of the largest plane at each pixel. Holds two planes at a time, whatever the number of classes."""
    remaining = iter(planes)
    best = next(remaining)
    ids = np.zeros(best.shape, np.uint8)
    for index, plane in enumerate(remaining, 1):
        np.copyto(ids, np.uint8(index), where=plane > best)
        np.maximum(best, plane, out=best)
    return ids


def _by_cells(logits: NDArray[np.float32], planes: list[Plane], width: int, height: int) -> Ids:
    """The ids of `_largest` over all planes, interpolated only where the class can change.

    A cell is the area between four neighbouring logits. If one class is the largest at all four corners, it is the
    largest everywhere in the cell, because interpolation is monotone; the cell is filled. The other cells, a few per
    cent of a typical mask, are interpolated a row of cells at a time. Where two classes are equal but for rounding, the
    id may differ from that of `_largest`.
    """
    classes, uniform = _cells(logits)
    row_cells, above, below = _weights(logits.shape[0], height)
    column_cells, _, _ = _weights(logits.shape[1], width)
    heights = np.bincount(row_cells, minlength=len(classes))
    ids = np.repeat(classes[:, column_cells], heights, axis=0)
    mixed = ~uniform[:, column_cells]
    wide = np.empty((len(planes), logits.shape[0], width), np.float32)
    for plane, widened in zip(planes, wide, strict=True):
        cv2.resize(plane, (width, len(plane)), dst=widened, interpolation=cv2.INTER_LINEAR)
    ends = np.cumsum(heights)
    for cell in np.flatnonzero(mixed.any(axis=1)).tolist():
        rows = slice(ends[cell] - heights[cell], ends[cell])
        columns = np.flatnonzero(mixed[cell])
        upper, lower = wide[:, cell].take(columns, axis=1), wide[:, cell + 1].take(columns, axis=1)
        ids[rows, columns] = _largest(upper[:, None] * above[rows] + lower[:, None] * below[rows])
    return ids


def _cells(logits: NDArray[np.float32]) -> tuple[Ids, NDArray[np.bool_]]:
    """uint8[h-1,w-1] class of each cell's first corner, and whether all four corners have that class."""
    classes = logits.argmax(axis=-1).astype(np.uint8)
    height, width = (side - 1 for side in classes.shape)
    first, *others = (classes[y : height + y, x : width + x] for y in (0, 1) for x in (0, 1))
    return first, np.logical_and.reduce([corner == first for corner in others])


def _weights(size: int, length: int) -> tuple[NDArray[np.intp], Plane, Plane]:
    """For each of `length` pixels over `size` logits: its cell, and the weights of the cell's two ends [length,1].

    They are OpenCV's own: resizing the identity matrix yields the weight of every logit for every pixel.
    """
    weights = _resized(np.eye(size, dtype=np.float32), size, length)
    cells = np.minimum((weights != 0).argmax(axis=1), size - 2)
    pixels = np.arange(length)
    return cells, weights[pixels, cells, None], weights[pixels, cells + 1, None]
