"""Read and decode one image in a separate process, and report the outcome and its cost."""

import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from PIL import Image

from storage.photos.photo import Header, decode, read_header
from storage.problems import Problem
from storage.settings import Settings

ADDRESS_SPACE = 6 * 1024**3  # bytes: far above the promise; a bomb kills this process, not the machine
SMALL = 256
REFUSALS = {"unprocessable_image", "unsupported_media_type", "payload_too_large"}
SETTINGS = Settings()

T = TypeVar("T")


@dataclass
class Finding:
    """`outcomes`: of header, decode and small decode; `wrong`: the promises that were broken."""

    outcomes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    header_cpu_s: float = 0
    cpu_s: float = 0
    peak_mb: int = 0


def confine() -> None:
    """Limit the memory of this process, before it examines images."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def examine(content: bytes) -> Finding:
    finding = Finding()
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak of the resident memory
    before, started = peak_mb(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        header = _tried(finding, lambda: read_header(content, SETTINGS), REFUSALS)
        finding.header_cpu_s = time.process_time() - started
        _decoded(finding, content, header, None)
        _decoded(finding, content, header, SMALL)
    finding.wrong += [f"warned: {one.message}" for one in caught]
    finding.cpu_s, finding.peak_mb = time.process_time() - started, peak_mb() - before
    return finding


def _decoded(finding: Finding, content: bytes, header: Header | None, at_least: int | None) -> None:
    codes = {"image_decode_failed"} if header else REFUSALS
    result = _tried(finding, lambda: decode(content, SETTINGS, at_least), codes)
    if result is None:
        return
    decoded_header, photo = result
    if decoded_header != header:
        finding.wrong.append(f"header {header}, decode {decoded_header}")
    if photo.mode != "RGB" or not _fits(photo, decoded_header, at_least):
        finding.wrong.append(f"{photo.mode} {photo.size} for {decoded_header}")


def _fits(photo: Image.Image, header: Header, at_least: int | None) -> bool:
    scales = (1, 2, 4, 8) if at_least and header.format == "JPEG" else (1,)
    size = (header.width, header.height)
    return any(photo.size == (-(-size[0] // scale), -(-size[1] // scale)) for scale in scales)


def _tried(finding: Finding, attempt: Callable[[], T], codes: set[str]) -> T | None:
    try:
        result = attempt()
    except Problem as problem:
        finding.outcomes.append(problem.code)
        if problem.code not in codes or isinstance(problem.__cause__, MemoryError):
            finding.wrong.append(f"{problem.code} after {problem.__cause__!r}")
        return None
    except BaseException as error:
        finding.outcomes.append("raised")
        finding.wrong.append(repr(error))
        return None
    finding.outcomes.append("ok")
    return result


def peak_mb() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
