"""The one way to decode or render while a client waits: in the process' budget, in the caller's turn."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flask import request

from storage.job import Spec
from storage.photos.costs import decoding_bytes
from web.access.caller import Caller, caller
from web.access.credentials import address
from web.access.rate_limits import network
from web.rendering.presence import has_left
from web.rendering.turns import Turns
from web.services import rate_limits, turns

# Bytes at the peak for each pixel, held to measured peaks by tests/web/test_rendering_costs.py.
OF_MASK = 8  # of run lengths and polygons
OF_PHOTO = 12  # of a picture in colours that is encoded again; decoding may take more


@dataclass(frozen=True)
class Client:
    """Who waits for a request's answer. It outlives the request's context, for answers that are streamed."""

    turns: Turns
    name: str
    left: Callable[[], bool]

    @contextmanager
    def turn(self, cost: int, refusable: bool = True) -> Iterator[None]:
        with self.turns.turn(self.name, cost, self.left, refusable):
            yield


def client() -> Client:
    """Of the present request."""
    return Client(turns(), _turn_taker(caller(), address()), has_left(request.environ))


@contextmanager
def rendering(cost: int) -> Iterator[None]:
    """A rendering counts against the caller's rate limit, and waits for its turn."""
    rate_limits().take_rendering(caller(), address())
    with client().turn(cost):
        yield


def photo_bytes(spec: Spec) -> int:
    return max(decoding_bytes(spec.format, spec.width, spec.height), spec.width * spec.height * OF_PHOTO)


def corrected_bytes(spec: Spec) -> int:
    """A corrected mask may come in colours."""
    return spec.width * spec.height * OF_PHOTO


def mask_bytes(spec: Spec) -> int:
    return spec.width * spec.height * OF_MASK


def _turn_taker(asking: Caller, where: str) -> str:
    """A tenant; anonymous ones together by their address, which can make any number of them."""
    return f"address {network(where)}" if asking.anonymous else f"tenant {asking.tenant}"
