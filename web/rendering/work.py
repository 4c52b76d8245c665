"""The entry point for all decoding and rendering while a client waits: within budget, in turn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flask import request

from storage.job import Spec
from storage.photos.costs import decoding_bytes
from storage.photos.photo import Header
from web.access.caller import Caller, caller
from web.access.credentials import address
from web.access.rate_limits import network
from web.rendering.presence import has_left
from web.rendering.turns import Turns
from web.services import rate_limits, turns

# Peak bytes per pixel; tests/web/test_rendering_costs.py compares them with measured peaks.
OF_MASK = 8  # for run lengths and polygons
OF_PHOTO = 12  # for a colour image that is re-encoded; decoding may take more


@dataclass(frozen=True)
class Client:
    """The client that waits for a response. It outlives the request context, for streamed responses."""

    turns: Turns
    name: str
    left: Callable[[], bool]

    @contextmanager
    def turn(self, cost: int, refusable: bool = True) -> Iterator[None]:
        with self.turns.turn(self.name, cost, self.left, refusable):
            yield


def client() -> Client:
    """Return the client of the current request."""
    return Client(turns(), _turn_taker(caller(), address()), has_left(request.environ))


@contextmanager
def rendering(cost: int) -> Iterator[None]:
    """Count a rendering against the caller's rate limit and wait for its turn. `cost`: bytes."""
    rate_limits().take_rendering(caller(), address())
    with client().turn(cost):
        yield


def photo_bytes(photo: Spec | Header) -> int:
    return max(decoding_bytes(photo.format, photo.width, photo.height), photo.width * photo.height * OF_PHOTO)


def corrected_bytes(pixels: int) -> int:
    """Return the cost of a corrected mask, which may be a colour image."""
    return pixels * OF_PHOTO


def mask_bytes(spec: Spec) -> int:
    return spec.width * spec.height * OF_MASK


def _turn_taker(asking: Caller, where: str) -> str:
    """Return the tenant, or the address: anonymous tenants at one address share its turns.

    A browser can create any number of anonymous tenants.
    """
    return f"address {network(where)}" if asking.anonymous else f"tenant {asking.tenant}"
