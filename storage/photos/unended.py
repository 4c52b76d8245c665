"""A JPEG without its end marker: find out whether pixels are missing.

libjpeg fills what is missing with grey and reports it in a warning that Pillow drops. Therefore the
file is decoded again, continued with noise. A decoder that still needs data takes the noise for it,
and the pixels differ. A decoder that has all data skips the noise.

If only the last bytes of the last block are missing, one noise in five changes no pixel, as where
white stays white. Three of them all failing is one file in a hundred of these.
"""

import random
from collections.abc import Iterator

from storage.photos.jpeg import END, SCAN, SEQUENTIAL, segments

_PROGRESSIVE = 0xC2  # a frame with Huffman coding (T.81, table B.1)
_COEFFICIENTS = 64
_RESTART, _RESTARTS = 0xD0, 8  # the first of the markers, which are numbered in turn (T.81, E.1.4)
_NOISES = [random.Random(seed).randbytes(256).replace(b"\xff", b"\x55") for seed in range(3)]


def with_noise(content: bytes) -> Iterator[bytes]:
    """The image, which ends with an end marker, with different noise before that marker.

    Raises ValueError if a scan is missing.
    """
    scans = [start for kind, start, _ in segments(content) if kind == SCAN]
    if not scans or not _is_complete(content):
        raise ValueError("the JPEG ends before its last scan")
    marks = (content.rfind(bytes([0xFF, _RESTART + n]), scans[-1]) for n in range(_RESTARTS))
    place, last = max((place, n) for n, place in enumerate(marks))
    following = last + 1 if place >= 0 else 0
    restarts = [bytes([0xFF, _RESTART + (following + n) % _RESTARTS]) for n in range(_RESTARTS)]
    for noise in _NOISES:
        # A missing restart interval ends at the next marker, so every interval gets noise.
        yield content.removesuffix(END) + b"".join(noise + marker for marker in restarts) + noise + END


def _is_complete(content: bytes) -> bool:
    """Whether the scans contain every coefficient of every component, to its last bit (T.81, G.1)."""
    missing: dict[int, list[int]] = {}
    progressive = False
    for kind, start, _ in segments(content):
        if kind in SEQUENTIAL or kind == _PROGRESSIVE:
            progressive = kind == _PROGRESSIVE
            missing = {component: [1] * _COEFFICIENTS for component in content[start + 10 : _end(content, start) : 3]}
        elif kind == SCAN:
            for component, first, last, low in _parts(content, start):
                span = slice(first, last + 1) if progressive else slice(None)
                missing[component][span] = [low if progressive else 0] * len(missing[component][span])
    return bool(missing) and not any(map(any, missing.values()))


def _parts(content: bytes, start: int) -> Iterator[tuple[int, int, int, int]]:
    """For each component of a scan: its id, its first and last coefficient, and how many low bits
    the scan leaves out.
    """
    end = _end(content, start)
    first, last, bits = content[end - 3 : end]
    for component in content[start + 5 : end - 3 : 2]:
        yield component, first, last, bits & 15


def _end(content: bytes, start: int) -> int:
    """The end of a segment's header."""
    return start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
