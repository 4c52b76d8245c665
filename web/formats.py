"""Renderings of a stored mask. Infer once, render on request."""

import io
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import gevent
from PIL import Image

from storage.photos import decode
from storage.settings import Settings

UNTINTED = "background"  # a class of this name is shown as the photo it is
JPEG_QUALITY = 88

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run CPU work in gevent's threads (Pillow releases the GIL), so that other requests go on."""

    def tried() -> tuple[T, None] | tuple[None, Exception]:
        """gevent would print what is raised in its threads, even if it is only a refusal."""
        try:
            return function(*args, **kwargs), None
        except Exception as error:
            return None, error

    result, error = gevent.get_hub().threadpool.apply(tried)
    if error is not None:
        raise error
    return cast(T, result)


def overlay(photo: bytes, mask: bytes, class_names: list[str], alpha: float, settings: Settings) -> bytes:
    """The upright photo with the classes' colours over it → JPEG. `alpha`: 0 (photo only) to 1 (colours only)."""
    _, base = decode(photo, settings)
    with Image.open(io.BytesIO(mask), formats=["PNG"]) as palette:
        ids = Image.frombytes("L", palette.size, palette.tobytes())
        shares = [0 if name == UNTINTED else round(alpha * 255) for name in class_names]
        opacity = ids.point(shares + [0] * (256 - len(shares)))
        tinted = Image.composite(palette.convert("RGB"), base, opacity)
    buffer = io.BytesIO()
    tinted.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()
