"""Logits at the network's size to class ids at the photo's size."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Ids = NDArray[np.uint8]

# From this many pixels on, looking for uniform cells costs less than it saves.
CELLS_FROM = 1_000_000
# Two logits closer than this, relative to the largest one, may compare differently after rounding.
ROUNDING = np.float32(1e-4)


def to_mask(logits: NDArray[np.float32], width: int, height: int) -> Ids:
    """float32[h,w,classes] logits → uint8[height,width] class ids.

    Interpolates the logits, not the ids (bilinear, half-pixel centres), so that edges are smooth. A pixel gets the
    class of its largest logit, and the lowest id among equals.
    """
    planes = [np.ascontiguousarray(logits[..., index]) for index in range(logits.shape[-1])]
    if width * height < CELLS_FROM:
        return _largest(_resized(plane, width, height) for plane in planes)
    return _by_cells(logits, planes, width, height)


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
    """The same ids as `_largest` of all planes, interpolated only where the class can change.

    A cell is the area between four neighbouring logits; at the border it extends to the edge. If one class is the
    largest at all four corners, it is the largest everywhere in the cell, so the cell is filled. The other cells, a few
    per cent of a typical mask, are interpolated a row of cells at a time. Columns in which two classes are equal but
    for rounding are then interpolated by `_resized`, so that rounding decides as it does there.
    """
    tolerance = ROUNDING * np.abs(logits).max()
    classes, uniform = _cells(logits, tolerance)
    row_cells, far = _positions(len(logits), height)
    column_cells, _ = _positions(logits.shape[1], width)
    ids = classes[:, column_cells][row_cells]
    wide = [_resized(plane, width, len(plane)) for plane in planes]
    bounds = np.searchsorted(row_cells, np.arange(len(classes) + 1))
    undecided = np.zeros(width, bool)
    for cell in map(int, np.flatnonzero(~uniform.all(axis=1))):
        rows = slice(int(bounds[cell]), int(bounds[cell + 1]))
        columns = np.flatnonzero(~uniform[cell, column_cells])
        above, below = max(cell - 1, 0), min(cell, len(logits) - 1)
        down = far[rows, None]
        found, tied = _two_largest(
            [plane[above, columns] * (1 - down) + plane[below, columns] * down for plane in wide], tolerance
        )
        ids[rows, columns] = found
        undecided[columns] |= tied.any(axis=0)
    columns = np.flatnonzero(undecided)
    if len(columns):
        ids[:, columns] = _largest(_resized(plane[:, columns], len(columns), height) for plane in wide)
    return ids


def _cells(logits: NDArray[np.float32], tolerance: np.float32) -> tuple[Ids, NDArray[np.bool_]]:
    """uint8[h+1,w+1] class of each cell's first corner, and whether all of the cell has that class for certain."""
    ascending = np.sort(logits, axis=-1)
    certain = np.pad(ascending[..., -1] - ascending[..., -2] > tolerance, 1, mode="edge")
    classes = np.pad(logits.argmax(axis=-1).astype(np.uint8), 1, mode="edge")
    corners = [np.s_[y : len(classes) - 1 + y, x : classes.shape[1] - 1 + x] for y in (0, 1) for x in (0, 1)]
    first = classes[corners[0]]
    uniform = np.logical_and.reduce([certain[corner] & (classes[corner] == first) for corner in corners])
    return first, uniform


def _positions(size: int, length: int) -> tuple[NDArray[np.intp], Plane]:
    """For each of `length` pixels over `size` logits: the index of its cell, and its distance from the cell's start."""
    position = (np.arange(length) + 0.5) * (size / length) - 0.5
    start = np.floor(position)
    return np.clip(start + 1, 0, size).astype(np.intp), (position - start).astype(np.float32)


def _two_largest(planes: list[Plane], tolerance: np.float32) -> tuple[Ids, NDArray[np.bool_]]:
    """The index of the largest plane at each pixel, and where the second largest is equal but for rounding."""
    best, second = planes[0], np.full_like(planes[0], -np.inf)
    ids = np.zeros(best.shape, np.uint8)
    for index, plane in enumerate(planes[1:], 1):
        np.copyto(ids, np.uint8(index), where=plane > best)
        second = np.maximum(second, np.minimum(best, plane))
        best = np.maximum(best, plane)
    return ids, best - second <= tolerance
