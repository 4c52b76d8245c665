"""Label Studio's JSON export: polygons, and brush masks in its run lengths."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learning.review.entries import CorrectedMask, Pixels, Region, Unusable, check_size, painted, polygon
from storage.settings import Settings
from storage.training.reviews import Subject

OPAQUE = 128  # the least alpha of a pixel that a brush has marked


def read(path: Path, settings: Settings) -> Iterator[CorrectedMask]:  # noqa: ARG001 - the same for all formats
    """One entry per task: its latest annotation that was not cancelled. Raises Unusable."""
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
        found = [(str(next(iter(_images(task)))), _latest(task)) for task in tasks]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise Unusable(f"{path} is not a JSON export of Label Studio: {error!r}") from error
    for name, results in found:

        def draw(subject: Subject, results: Sequence[Mapping[str, Any]] = results) -> bytes:
            if not results:
                raise Unusable("it has no annotation")
            try:
                return painted(subject, [_region(subject, result) for result in results])
            except (KeyError, TypeError, IndexError, ValueError) as error:
                raise Unusable(f"an annotation is damaged: {error!r}") from error

        yield CorrectedMask(name, draw)


def _images(task: Mapping[str, Any]) -> Iterator[str]:
    """The values in the task's data that name a photo."""
    return (value for value in task["data"].values() if isinstance(value, str) and "job_" in value)


def _latest(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    done = [one for one in task["annotations"] if not one.get("was_cancelled")]
    if not done:
        return []
    latest = max(done, key=lambda one: str(one.get("updated_at", "")))
    return [result for result in latest["result"] if result["type"] in ("polygonlabels", "brushlabels")]


def _region(subject: Subject, result: Mapping[str, Any]) -> Region:
    check_size(subject, result["original_width"], result["original_height"])
    value = result["value"]
    [name] = value[result["type"]]
    if result["type"] == "polygonlabels":
        corners = [(x * subject.width / 100, y * subject.height / 100) for x, y in value["points"]]  # from per cent
        return name, lambda: polygon(subject, [part for corner in corners for part in corner])
    if value.get("format") != "rle":
        raise Unusable("a brush mask is not in run lengths")
    return name, lambda: _brush(value["rle"], subject)


def _brush(packed: Sequence[int], subject: Subject) -> Pixels:
    """The opaque pixels of an RGBA image in the run lengths of the JavaScript library @thi.ng/rle-pack.

    Bits: the number of words (32), the word's size - 1 (5), four run sizes - 1 (4 each); then runs: a
    flag (1: repeated), which run size (2), length - 1, and the word or words. Raises Unusable.
    """
    bits = _Bits(packed)
    total, word = bits.take(32), bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    if total != subject.width * subject.height * 4:
        raise Unusable("a brush mask has another size than the photo")
    values, done = np.zeros(total, np.uint8), 0
    while done < total:
        repeated, length = bits.take(1), bits.take(sizes[bits.take(2)]) + 1
        if done + length > total:
            raise Unusable("a brush mask has more pixels than the photo")
        run = slice(done, done + length)
        values[run] = bits.take(word) if repeated else [bits.take(word) for _ in range(length)]
        done += length
    return values.reshape(subject.height, subject.width, 4)[..., 3] >= OPAQUE


class _Bits:
    def __init__(self, packed: Sequence[int]) -> None:
        self._bits, self._at = "".join(f"{byte:08b}" for byte in bytes(packed)), 0

    def take(self, count: int) -> int:
        """The next `count` bits as a number. Raises Unusable after the last one."""
        self._at += count
        if self._at > len(self._bits):
            raise Unusable("a brush mask ends too early")
        return int(self._bits[self._at - count : self._at], 2)
