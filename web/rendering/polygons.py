"""Polygons of one class of a mask. They follow the pixel edges, so every pixel and the area are exact.

The corners alone determine such a polygon. In each lattice row the first corner joins the second,
the third joins the fourth, and so on; the columns work the same way (J. O'Rourke, Uniqueness of
orthogonal connect-the-dots, 1988). Where two pixels touch only at a point, that point has two
corners, one per pixel. The rings are therefore found without a walk over pixels, and memory grows
with the number of corners. A contour library needs three float64 planes of the mask's size (700 MB
for 25 megapixels) and cuts the corners off.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.problems import Problem

BAND = 256  # rows
Ring = NDArray[np.int64]  # [n,2] x, y; the last point is the first


@dataclass(frozen=True)
class Corners:
    """The corners in reading order. Of two at one point, the one that joins to the left is first.

    `x`, `y`, int64[n]: the lattice point; (0, 0) is the top left corner of the first pixel.
    `order`, int64[n]: the indices of the corners, column by column. `keys`, int64[n]: the sort keys
    of `order`, ascending.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    order: NDArray[np.int64]
    keys: NDArray[np.int64]


def polygons(ids: NDArray[np.uint8], chosen: int, most: int) -> list[list[Ring]]:
    """Return the polygons of the class `chosen` in `ids`, uint8[h,w]: each the outline, then its holes.

    Pixels are 4-connected. Outlines turn from x to y, holes the other way (RFC 7946, 3.1.6). No ring
    touches itself (OGC Simple Features, 6.1.11.1). Raises Problem for more than `most` corners.
    """
    corners = _corners(ids, chosen, most)
    rings, ring_of = _rings(corners.order)
    points = _points(corners)
    touching = _touch_themselves(points, ring_of)
    found: dict[int, list[Ring]] = {}
    for number, owner in enumerate(_owners(ids, chosen, corners, rings, ring_of)):
        loops = _split(rings[number], points) if number in touching else [rings[number]]
        for loop in loops:
            closed = [*loop, loop[0]]
            ring = np.stack([corners.x[closed], corners.y[closed]], axis=1)
            found.setdefault(owner, []).append(ring if owner == number else ring[::-1])
    return list(found.values())


def _corners(ids: NDArray[np.uint8], chosen: int, most: int) -> Corners:
    height, count = ids.shape[0], 0
    bands = []
    for top in range(0, height + 1, BAND):
        bands.append(_corners_of_band(ids, chosen, top, min(top + BAND, height + 1)))
        count += bands[-1].shape[1]
        if count > most:
            raise Problem(
                "mask_too_detailed", "The polygons of this mask would have too many vertices; use format=rle."
            )
    y, x, lower = np.concatenate(bands, axis=1)
    keys = _key(x, y, lower, height)
    order = np.argsort(keys)
    return Corners(x, y, order, keys[order])


def _key(x: NDArray[np.int64], y: NDArray[np.int64], lower: NDArray[np.int64] | int, height: int) -> NDArray[np.int64]:
    """Sort by column, then from top to bottom, then the corner that joins upwards before the other."""
    return (x * (height + 1) + y) * 2 + lower


def _corners_of_band(ids: NDArray[np.uint8], chosen: int, top: int, bottom: int) -> NDArray[np.int64]:
    """Find the corners in lattice rows `top` to `bottom` - 1.

    Return int64[3,n]: y, x, and 1 for the lower of two corners at one point.
    """
    # It starts with the row above `top`, and has one pixel of padding left and right.
    pixels = np.zeros((bottom - top + 1, ids.shape[1] + 2), bool)
    first, last = max(0, top - 1), min(len(ids), bottom)
    pixels[first - top + 1 : last - top + 1, 1:-1] = ids[first:last] == chosen
    north_west, north_east = pixels[:-1, :-1], pixels[:-1, 1:]
    south_west, south_east = pixels[1:, :-1], pixels[1:, 1:]
    twofold = (north_west == south_east) & (north_east == south_west) & (north_west != north_east)
    y, x = np.nonzero(twofold | (north_west ^ north_east ^ south_west ^ south_east))
    double = twofold[y, x]
    index = np.repeat(np.arange(len(y)), 1 + double)
    second = np.append(False, index[1:] == index[:-1])[: len(index)]
    # If the pixels are north-west and south-east, the left corner is the upper one; if they are
    # north-east and south-west, the right corner is.
    lower = double[index] & (second ^ north_east[y, x][index])
    return np.stack([y[index] + top, x[index], lower])


def _rings(order: NDArray[np.int64]) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Return the corners of each ring, clockwise from its top left corner, and int64[n] ring numbers."""
    joined = np.empty_like(order)
    joined[order[0::2]], joined[order[1::2]] = order[1::2], order[0::2]
    vertically, ring_of = joined.tolist(), [-1] * len(order)
    rings: list[list[int]] = []
    for start in range(0, len(order), 2):
        ring: list[int] = []
        at = start
        while ring_of[at] < 0:
            beside = at ^ 1  # in reading order, the corners of a row form pairs
            ring += at, beside
            ring_of[at] = ring_of[beside] = len(rings)
            at = vertically[beside]
        if ring:
            rings.append(ring)
    return rings, np.array(ring_of, np.int64)


def _points(corners: Corners) -> NDArray[np.int64]:
    """Return one number per corner, int64[n]; two corners at one point have the same number."""
    same = (corners.x[1:] == corners.x[:-1]) & (corners.y[1:] == corners.y[:-1])
    return np.cumsum(np.append(1, ~same))[: len(corners.x)]


def _touch_themselves(points: NDArray[np.int64], ring_of: NDArray[np.int64]) -> set[int]:
    """Return the numbers of the rings that pass through a point twice."""
    double = (points[1:] == points[:-1]) & (ring_of[1:] == ring_of[:-1])
    return set(ring_of[1:][double].tolist())


def _split(ring: list[int], points: NDArray[np.int64]) -> list[list[int]]:
    """Split a ring into loops that pass through each point once; the first has the ring's first corner.

    4-connected pixels have one outline. So each loop split off from an outline is a hole and turns
    the other way, and each loop split off from a hole is another hole.
    """
    path: list[int] = []
    places: dict[int, int] = {}  # point → where it is in the path
    loops: list[list[int]] = []
    for corner, point in zip(ring, points[ring].tolist(), strict=True):
        if point in places:
            begin = places[point]
            loops.append(path[begin:])
            for passed in points[path[begin + 1 :]].tolist():
                del places[passed]
            del path[begin:]
        places[point] = len(path)
        path.append(corner)
    return [path, *loops]


def _owners(
    ids: NDArray[np.uint8], chosen: int, corners: Corners, rings: list[list[int]], ring_of: NDArray[np.int64]
) -> list[int]:
    """Return for each ring the number of its outline: itself, or the one that surrounds the hole.

    The run of `chosen` pixels above a hole's first corner starts at an edge of the surrounding
    outline, or at an edge of a hole that starts further up and therefore has an owner already.
    """
    starts = np.array([ring[0] for ring in rings], np.int64)
    x, y = corners.x[starts], corners.y[starts]
    holes = np.flatnonzero(ids[y, x] != chosen)
    above = y[holes] - 1
    begin = [_run_begins(ids[row, :column] == chosen) for row, column in zip(above, x[holes], strict=True)]
    keys = _key(np.array(begin, np.int64), above, 1, len(ids))
    sides = corners.order[np.searchsorted(corners.keys, keys, side="right") - 1]
    owners = list(range(len(rings)))
    for hole, side in zip(holes.tolist(), ring_of[sides].tolist(), strict=True):
        owners[hole] = owners[side]
    return owners


def _run_begins(row: NDArray[np.bool_]) -> int:
    """Return the index at which the run of set pixels at the end of `row` begins."""
    return row.tobytes().rfind(b"\0") + 1
