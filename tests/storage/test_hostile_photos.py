"""Any input gives a photo of the declared size or a Problem.

Time and memory are bounded, and nothing is written to stderr.
"""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import examined
import hostile
import pytest
from examined import Finding, examine
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.alone  # memory and CPU are measured
MOST_MB = 512  # a 25-megapixel WebP with alpha: libwebp's canvas, its frame, the stored picture and the white one
MOST_HEADER_CPU_S, MOST_CPU_S = 1.0, 6.0  # for the header; for the header and two decodes
PATIENCE_S = 300
MUTATIONS = 2000


@pytest.fixture(scope="module")
def lab() -> Iterator[ProcessPoolExecutor]:
    """One separate process, so that its memory can be limited and measured."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, initializer=examined.confine) as pool:
        pool.submit(examine, hostile.originals()["jpeg"]).result(PATIENCE_S)  # load plugins and decoders first
        yield pool


def checked(lab: ProcessPoolExecutor, content: bytes, name: str = "") -> Finding:
    finding = lab.submit(examine, content).result(PATIENCE_S)
    assert not finding.wrong, f"{name}: {finding}"
    assert finding.header_cpu_s < MOST_HEADER_CPU_S, f"{name}: {finding}"
    assert finding.cpu_s < MOST_CPU_S, f"{name}: {finding}"
    assert finding.peak_mb < MOST_MB, f"{name}: {finding}"
    return finding


def test_every_kind_of_photo_is_read(lab: ProcessPoolExecutor) -> None:
    for name, content in hostile.originals().items():
        assert checked(lab, content, name).outcomes == ["ok", "ok", "ok"], name


@pytest.mark.parametrize("name", hostile.LARGEST)
def test_the_largest_photos_stay_within_the_bounds(lab: ProcessPoolExecutor, name: str) -> None:
    assert checked(lab, hostile.largest(name), name).outcomes == ["ok", "ok", "ok"]


@pytest.mark.parametrize("name", hostile.bombs())
def test_a_bomb_stays_within_the_bounds(lab: ProcessPoolExecutor, name: str) -> None:
    checked(lab, hostile.bombs()[name], name)


def test_damaged_photos(lab: ProcessPoolExecutor) -> None:
    outcomes = {"ok": 0, "image_decode_failed": 0, "unprocessable_image": 0}
    for name, content in hostile.mutations(MUTATIONS):
        last = checked(lab, content, name).outcomes[-1]
        outcomes[last] = outcomes.get(last, 0) + 1
    assert min(outcomes.values()) > MUTATIONS / 50, outcomes  # all three outcomes occur


SIGNED = st.sampled_from([
    b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff", b"\x89PNG\r\n\x1a\n",
    hostile.originals()["png"][:33], b"RIFF\x40\0\0\0WEBPVP8 ", b"RIFF\x40\0\0\0WEBPVP8L", b"RIFF\x40\0\0\0WEBPVP8X",
])  # fmt: skip
SEGMENTS = st.lists(st.builds(hostile.segment, st.integers(0xC0, 0xFE), st.binary(max_size=40)), max_size=12)
CHUNKS = st.lists(
    st.builds(
        hostile.chunk,
        st.sampled_from([b"IHDR", b"PLTE", b"IDAT", b"tRNS", b"eXIf", b"iCCP", b"zTXt", b"iTXt", b"acTL", b"fcTL"]),
        st.binary(max_size=40),
    ),
    max_size=12,
)


@given(st.one_of(
    st.builds(bytes.__add__, SIGNED, st.binary(max_size=400)),
    st.builds(lambda parts, rest: b"\xff\xd8" + b"".join(parts) + rest, SEGMENTS, st.binary(max_size=40)),
    st.builds(lambda parts: hostile.png(9, 9, *parts), CHUNKS),
))  # fmt: skip
@example(b"\xff\xd8\xff")
@example(b"RIFF")
@settings(derandomize=True, deadline=None, max_examples=600, suppress_health_check=list(HealthCheck))
def test_any_bytes_after_a_valid_signature(lab: ProcessPoolExecutor, content: bytes) -> None:
    checked(lab, content)
