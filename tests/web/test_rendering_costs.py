"""The largest photo and mask in every format: memory, time and response sizes are bounded."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import examined
import pytest
import rendered
import specs

from web.rendering.work import corrected_bytes, mask_bytes, photo_bytes

pytestmark = pytest.mark.alone  # memory and CPU are measured

MIB = 1024 * 1024
MOST_CPU_S = 15.0
PATIENCE_S = 300
PHOTOS = [("jpeg noisy", "noisy"), ("webp lossless", "smooth")]
OF_A_PHOTO = [(format_, *pair) for format_ in ("overlay", "cutout", "soft", "image") for pair in PHOTOS]
OF_A_MASK = [
    (format_, "jpeg RGB", mask)
    for format_ in ("confidence", "inner", "outer", "rle", "geojson")
    for mask in ("smooth", "noisy")
]


@pytest.fixture(scope="module")
def lab() -> Iterator[ProcessPoolExecutor]:
    """A fresh process per rendering: memory freed by an earlier one would not be counted."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, initializer=examined.confine, max_tasks_per_child=1) as pool:
        yield pool


def measured(lab: ProcessPoolExecutor, format_: str, photo: str, mask: str) -> tuple[int, str]:
    """Return the size of the response in bytes, and the problem code of a refusal."""
    content = rendered.photo(photo), rendered.mask(mask)
    peak_mb, cpu_s, size, code = lab.submit(rendered.cost, format_, *content).result(PATIENCE_S)
    print(f"{format_:11}{photo:14}{mask:9}{peak_mb:5} MB {cpu_s:5.2f} s {size:10} bytes {code}")
    assert peak_mb < reserved_bytes(format_, photo) / MIB * 1.02
    assert cpu_s < MOST_CPU_S
    return size, code


def reserved_bytes(format_: str, photo: str) -> int:
    """The memory that the web process reserves for the rendering."""
    spec = specs.spec(width=rendered.SIDE, height=rendered.SIDE, format=photo.partition(" ")[0].upper())
    if format_ == "corrected":
        return corrected_bytes(spec.pixels)
    return photo_bytes(spec) if format_ in ("overlay", "cutout", "soft", "image") else mask_bytes(spec)


@pytest.mark.parametrize(("format_", "photo", "mask"), OF_A_PHOTO + OF_A_MASK + [("corrected", "jpeg RGB", "smooth")])
def test_the_largest_rendering_stays_within_its_bounds(
    lab: ProcessPoolExecutor, format_: str, photo: str, mask: str
) -> None:
    _, code = measured(lab, format_, photo, mask)
    assert code == ("mask_too_detailed" if (format_, mask) == ("geojson", "noisy") else "")


def test_the_maximum_number_of_corners_stays_within_the_bounds(lab: ProcessPoolExecutor) -> None:
    size, code = measured(lab, "geojson", "jpeg RGB", "detailed")
    assert (code, size > 4_000_000) == ("", True)
