"""A client's TCP connection with deadlines for the heads and bodies of requests.

Every byte of a request passes through `recv`, so this module enforces both deadlines.
"""

import contextlib
import socket
import time
from dataclasses import dataclass
from typing import Any

import gevent.socket
from gunicorn.http.body import ChunkedReader

from storage.problems import Problem
from storage.settings import Settings
from web.http.body_turns import BodyTurns
from web.http.pace import Pace
from web.http.shares import Shares

TURN_BYTES = 256 * 1024  # after this much of one body, other clients are served
DRAIN_BYTES = 64 * 1024  # up to this many unread bytes, gunicorn drains the body to keep the connection
LINGER_S, LINGER_BYTES = 5.0, 48 * 1024 * 1024  # limits on what a refused client may still send


@dataclass
class SlowHead(Exception):
    """The request's head did not arrive in time; `received` bytes did."""

    received: int


@dataclass(frozen=True)
class Fairness:
    """What a connection shares with the other ones of its process.

    `lingering` limits how many linger after a refusal at the same time; `turns`: of large bodies;
    `owners`: of this connection.
    """

    lingering: Shares
    turns: BodyTurns
    owners: tuple[str, ...]


class Connection(gevent.socket.socket):  # type: ignore[misc]
    """Takes over an accepted socket.

    The deadline of the first head starts with the connection, that of a later head with its first
    byte, and that of a body with the application's first read.
    """

    def __init__(self, accepted: Any, settings: Settings, fairness: Fairness) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._settings, self._fairness = settings, fairness
        self._request: Any = None  # gunicorn's request, while the application handles it
        self._pace: Pace | None = Pace(settings.head_s)
        self._since_turn = 0
        self._expected = self._lingers = False

    def begin_body(self, request: Any, expected: bool) -> None:
        """`expected`: the client waits for `100 Continue` before it sends the body."""
        self._request, self._pace, self._expected = request, None, expected

    def end_body(self) -> None:
        """Call this after the response: the bytes that follow are the next head."""
        if self._lingers:
            self.linger(LINGER_S)
        self._request = self._pace = None

    def recv(self, size: int, *flags: int) -> bytes:
        """Receive in time. Raises SlowHead for a late head, Problem `request_timeout` for a late body."""
        if self._request is not None and self._pace is None:
            self._pace = Pace(self._settings.body_s, self._settings.body_rate)
            if self._expected:
                self.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        data = self._in_time(size, *flags)
        if self._pace is None:
            self._pace = Pace(self._settings.head_s)
        self._pace.received += len(data)
        self._since_turn += len(data)
        if self._since_turn >= TURN_BYTES:
            self._since_turn = 0
            self._wait_for_turn()
        return data

    def _wait_for_turn(self) -> None:
        self._fairness.turns.wait(next(iter(self._fairness.owners), ""))

    def _in_time(self, size: int, *flags: int) -> bytes:
        if self._pace is None:  # between two requests, where gunicorn's keep-alive timeout applies
            return bytes(super().recv(size, *flags))
        left_s = self._pace.left_s()
        if left_s <= 0:
            raise self._late()
        self.settimeout(left_s)
        try:
            return bytes(super().recv(size, *flags))
        except TimeoutError as error:
            raise self._late() from error
        finally:
            self.settimeout(None)

    def _late(self) -> Exception:
        if self._request is None:
            return SlowHead(self._pace.received if self._pace else 0)
        most_s, rate = self._settings.body_s, self._settings.body_rate
        return Problem(
            "request_timeout",
            f"The body must arrive within {most_s:g} s, and at {rate} bytes a second or faster.",
        )

    def close_unless_read(self) -> None:
        """Call this before the response: add `Connection: close` if much of the body is unread."""
        if self._request is not None and self._unread():
            self._request.force_close()
            self._lingers = True

    def _unread(self) -> bool:
        body = self._request.body
        if body.failed or (self._expected and self._pace is None):
            return True
        if isinstance(body.reader, ChunkedReader):
            return body.reader.parser is not None
        return bool(body.reader.length > DRAIN_BYTES)

    def linger(self, seconds: float) -> None:
        """Shut down the sending side and discard what still arrives, for at most `seconds`.

        If the server closed the socket immediately, the client would see a reset instead of the
        response. Clients beyond the limit do see a reset, because discarding costs as much as reading.
        """
        lingering, owners = self._fairness.lingering, self._fairness.owners
        if not lingering.take(owners):
            return
        try:
            self._discard(seconds)
        finally:
            lingering.give_back(owners)

    def _discard(self, seconds: float) -> None:
        give_up, left, scratch = time.monotonic() + seconds, LINGER_BYTES, bytearray(TURN_BYTES)
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_WR)
            while left > 0 and (left_s := give_up - time.monotonic()) > 0:
                self.settimeout(left_s)
                received = self.recv_into(scratch)
                if not received:
                    return
                left -= received
                self._wait_for_turn()
