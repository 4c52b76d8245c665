"""gunicorn's gevent worker with the limits it lacks: on connections per address, and on slow heads."""

import contextlib
import functools
import json
import logging
import resource
from http import HTTPStatus
from typing import Any

from gunicorn.workers.ggevent import GeventWorker

from storage.problems import KINDS, Problem
from storage.settings import Settings
from telemetry import metrics
from web.access.exposure import is_open
from web.access.proxy import Network, networks, within
from web.access.rate_limits import places
from web.http.arrivals import Arrivals
from web.http.body_turns import BodyTurns
from web.http.connection import Connection, Fairness, SlowHead
from web.http.server import Server
from web.http.shares import Shares

OTHER_FILES = 1000  # descriptors for everything but connections: Redis, S3, spooled bodies
FEWEST_CONNECTIONS = 100
TOO_MANY = metrics.REFUSALS.labels("connections")
REFUSALS, LINGERING, REFUSAL_LINGER_S, RETRY_S = 100, 32, 1.0, 2

log = logging.getLogger(__name__)


class Worker(GeventWorker):  # type: ignore[misc]
    """Referenced by name in deploy/gunicorn.py."""

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._settings: Settings = self.wsgi.extensions["storage"].settings
        self._proxies = networks(self._settings.trusted_proxy)
        connections = allow_files(self._settings.max_connections)
        if connections < self._settings.max_connections:
            log.warning("open_files_limited", extra={"connections": connections})
        self._connections = Shares(connections)
        self._lingering, self._turns = Shares(LINGERING), BodyTurns()
        # An open server serves only this machine, whose programs need not be limited.
        self._arrivals = None if is_open(self._settings) else Arrivals(self._settings.limit_connections)
        self.worker_connections = connections + REFUSALS
        self.server_class = functools.partial(Server, self.handle, self._admits, REFUSAL)

    def _admits(self, address: Any) -> bool:
        return self._arrivals is None or self._arrivals.admit(owners_of(address, self._proxies))

    def handle(self, listener: Any, client: Any, address: Any) -> None:
        """Serve one connection in its own greenlet until it is closed."""
        owners = owners_of(address, self._proxies)
        connection = Connection(client, self._settings, Fairness(self._lingering, self._turns, owners))
        if not self._connections.take(owners):
            TOO_MANY.inc()
            self._refuse(connection)
            return
        try:
            super().handle(listener, connection, address)
        finally:
            self._connections.give_back(owners)

    def handle_request(self, listener_name: Any, request: Any, client: Connection, address: Any) -> Any:
        # gunicorn would send `100 Continue` immediately; we send it when the application reads the body.
        expected, request._expected_100_continue = request._expected_100_continue, False
        client.begin_body(request, expected)
        try:
            return super().handle_request(listener_name, request, client, address)
        finally:
            client.end_body()

    def handle_error(self, request: Any, client: Any, address: Any, error: BaseException) -> None:
        if not isinstance(error, SlowHead):
            super().handle_error(request, client, address, error)
            return
        if not error.received:
            # A browser's spare connection: it would take this response for that of its next request.
            return
        detail = f"The head of a request must arrive within {self._settings.head_s:g} s."
        with contextlib.suppress(OSError):
            client.sendall(raw_answer(Problem("request_timeout", detail)))

    def _refuse(self, connection: Connection) -> None:
        """Send a 429 without reading the request."""
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.settimeout(REFUSAL_LINGER_S)
            connection.sendall(REFUSAL)
            connection.linger(REFUSAL_LINGER_S)


def owners_of(address: Any, proxies: list[Network]) -> tuple[str, ...]:
    """Return the owners whose shares a connection uses; none for a declared proxy or a Unix socket."""
    if not isinstance(address, tuple) or within(address[0], proxies):
        return ()
    return places(address[0].partition("%")[0])


def raw_answer(problem: Problem) -> bytes:
    """Return a problem as a complete HTTP response, for a request that did not reach the application."""
    status = HTTPStatus(KINDS[problem.code].status)
    content = json.dumps(problem.to_dict("/")).encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(content)}",
        "Connection: close",
    ]
    if problem.retry_after_s is not None:
        lines.append(f"Retry-After: {problem.retry_after_s}")
    return "\r\n".join([*lines, "", ""]).encode() + content


REFUSAL = raw_answer(Problem("too_many_at_once", "Too many connections from this address.", RETRY_S))


def allow_files(connections: int) -> int:
    """Raise the soft limit of open files as far as needed; return how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + REFUSALS + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if resource.RLIM_INFINITY != soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return min(connections, max(FEWEST_CONNECTIONS, allowed - REFUSALS - OTHER_FILES))
