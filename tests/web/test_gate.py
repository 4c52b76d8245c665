"""Limits on connections, heads and bodies, so that one client cannot starve others; on the real server."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import damage
import pictures
import pytest
import services
from callers import SECRET, bearer, new_key
from services import SHIPPED_MODEL, Service
from stack import children

from storage.connection import Storage
from storage.settings import Settings
from web.access.proxy import networks
from web.http.arrivals import MOST_BUCKETS, Arrivals
from web.http.body_turns import BodyTurns
from web.http.connection import Connection, Fairness
from web.http.pace import GRACE_S, Pace
from web.http.shares import Shares
from web.http.worker import owners_of

ATTACKER, VICTIM = "127.0.0.1", "127.0.0.2"
PATIENCE_S = 30
FLOOD = 700  # connections at once
MIB = 1024 * 1024
PHOTO = pictures.jpeg()
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
UNKNOWN = "seg_" + "0" * 12 + "_" + "a" * 43
PATIENT = {"HEAD_S": 120, "BODY_RATE": 0}  # on a loaded machine, held requests must not time out
KEYS = {"REQUIRE_KEYS": 1, "SESSION_SECRET": SECRET}
Serve = Callable[..., Service]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    problem: dict[str, Any]


@pytest.fixture
def serve(settings: Settings, connection: Storage, tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts the web server with changed settings."""
    connection.models.publish(SHIPPED_MODEL)
    started: list[Service] = []

    def start(**changes: object) -> Service:
        port = services.free_ports(1)
        env = services.joining(settings, PORT=port, **changes)
        started.append(services.start(services.procfile("web"), env, port, tmp_path / "gunicorn.log"))
        return started[-1]

    yield start
    for one in started:
        one.stop()
    assert "Traceback" not in (tmp_path / "gunicorn.log").read_text()


def connect(server: Service, address: str = ATTACKER) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_S, source_address=(address, 0))


def answer(sender: socket.socket) -> Answer:
    received = http.client.HTTPResponse(sender)
    received.begin()
    content = received.read()
    problem = json.loads(content) if "problem" in received.headers["Content-Type"] else {}
    return Answer(received.status, received.headers, problem)


def ask(server: Service, address: str, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    with contextlib.closing(
        http.client.HTTPConnection("127.0.0.1", server.port, PATIENCE_S, source_address=(address, 0))
    ) as connection:
        connection.request(method, path, body or None, headers)
        received = connection.getresponse()
        content = received.read()
        return Answer(received.status, received.headers, json.loads(content) if received.status >= 400 else {})


def submit(server: Service, address: str = VICTIM, **headers: str) -> int:
    return ask(server, address, "POST", "/v1/jobs", PHOTO, **{"Content-Type": "image/jpeg"}, **headers).status


@contextmanager
def held(server: Service, count: int, request: bytes) -> Iterator[list[socket.socket]]:
    """Open `count` connections as the attacker and send `request` on each."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(server)) for _ in range(count)]
        for sender in sockets:
            with contextlib.suppress(ConnectionError):
                sender.sendall(request)
        yield sockets


def refused(sockets: list[socket.socket]) -> list[socket.socket]:
    """Return the connections that got a response."""
    found = []
    for sender in sockets:
        sender.setblocking(False)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            sender.recv(1, socket.MSG_PEEK)
            found.append(sender)
        sender.settimeout(PATIENCE_S)
    return found


def refused_in_time(sockets: list[socket.socket], count: int) -> list[socket.socket]:
    services.wait_until(lambda: len(refused(sockets)) >= count, f"{count} refusals", PATIENCE_S)
    return refused(sockets)


def half(length: int, sent: bytes = b"") -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % length + sent


def test_shares_shrink_as_the_total_in_use_grows() -> None:
    shares = Shares(60)
    held = dict.fromkeys(("first", "second", "third"), 0)
    for owner in held:
        while shares.take((owner,)):
            held[owner] += 1
    assert held == {"first": 30, "second": 15, "third": 7}
    assert not shares.take(("fourth", "first")), "every owner must have room"
    for owner, count in held.items():
        shares.give_back((owner,), count)
    assert (shares.used, shares.take(("fourth",), 30), shares.take(("fifth",), 31)) == (0, True, False)


def test_a_pace_allows_a_slow_start_but_no_slow_body(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("web.http.pace.time.monotonic", lambda: now)
    pace = Pace(longest_s=60, bytes_per_s=1000, started=now)
    assert pace.left_s() == GRACE_S
    pace.received = 5000
    assert pace.left_s() == GRACE_S + 5
    pace.received = 1_000_000
    assert pace.left_s() == 60


def test_one_address_gets_half_of_the_connections(serve: Serve) -> None:
    server = serve(MAX_CONNECTIONS=20, **PATIENT)
    with held(server, 20, b"") as sockets:
        late = refused_in_time(sockets, 10)
        assert len(late) == 10
        given = answer(late[0])
        assert (given.status, given.problem["code"]) == (429, "too_many_at_once")
        assert given.headers["Connection"] == "close"
        assert int(given.headers["Retry-After"]) > 0
        assert submit(server) == 202
    services.wait_until(lambda: submit(server, ATTACKER) == 202, "the connections' end", PATIENCE_S)


def test_an_address_that_reconnects_too_often_is_refused_before_it_is_read(serve: Serve) -> None:
    server = serve(LIMIT_CONNECTIONS="1200/hour", **KEYS)  # one, then another every 3 s
    statuses = [ask(server, ATTACKER, "GET", "/healthz").status for _ in range(10)]
    assert statuses.count(429) >= 5
    assert ask(server, VICTIM, "GET", "/healthz").status == 200
    services.wait_until(
        lambda: ask(server, ATTACKER, "GET", "/healthz").status == 200, "the next connection", PATIENCE_S
    )


def refused_before_a_response(server: Service, victim: http.client.HTTPConnection, headers: dict[str, str]) -> int:
    """Return how many of FLOOD connections are refused before a request that arrives after them gets its response."""
    with damage.stopped(children(server.process.pid)):
        attackers = ExitStack()
        sockets = attackers.enter_context(held(server, FLOOD, b""))
        victim.request("POST", "/v1/jobs", PHOTO, headers)
    with attackers:
        received = victim.getresponse()
        with damage.stopped(children(server.process.pid)):  # counting takes a while
            before = len(refused(sockets))
        assert received.status == 202
        assert received.read()
        services.wait_until(lambda: len(refused(sockets)) > FLOOD / 2, "the refusals")
    return before


def test_connections_that_are_refused_do_not_hold_up_a_request(serve: Serve, connection: Storage) -> None:
    """All of them arrive while the server stands still, before the request does.

    If this process is late to count the refusals, the server has sent more of them: so the fewest count.
    """
    server = serve(LIMIT_CONNECTIONS="1200/hour", **KEYS)
    headers = {**bearer(new_key(connection)), "Content-Type": "image/jpeg"}
    victim = http.client.HTTPConnection("127.0.0.1", server.port, PATIENCE_S, source_address=(VICTIM, 0))
    with contextlib.closing(victim):
        victim.request("POST", "/v1/jobs", PHOTO, headers)
        assert victim.getresponse().read()
        assert min(refused_before_a_response(server, victim, headers) for _ in range(3)) < FLOOD / 2


def test_the_buckets_of_quiet_addresses_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("web.http.arrivals.time.monotonic", lambda: now)
    arrivals = Arrivals("60/minute")
    assert [arrivals.admit(("busy",)) for _ in range(7)] == [True] * 3 + [False] * 4
    for number in range(MOST_BUCKETS - 1):
        arrivals.admit((f"{number}",))
    now += 2
    assert [arrivals.admit(("busy",)) for _ in range(3)] == [True] * 2 + [False]
    now += 2
    assert arrivals.admit(("one more",))
    assert not [arrivals.admit(("busy",)) for _ in range(5)][-1], "a used bucket must stay"
    assert len(arrivals._buckets) == 2


def test_an_open_server_does_not_limit_new_connections(serve: Serve) -> None:
    server = serve(LIMIT_CONNECTIONS="1/hour")
    assert [ask(server, ATTACKER, "GET", "/healthz").status for _ in range(10)] == [200] * 10


@pytest.mark.parametrize(("places", "discarded"), [(0, False), (2, True)])
def test_only_so_many_refused_clients_may_go_on_sending(places: int, discarded: bool) -> None:
    ours, theirs = socket.socketpair()
    shares = Shares(places)
    fairness = Fairness(shares, BodyTurns(), ("address",))
    with theirs, contextlib.closing(Connection(ours, Settings(), fairness)) as connection:
        theirs.sendall(b"rest of a body")
        theirs.shutdown(socket.SHUT_WR)
        connection.linger(PATIENCE_S)
        assert (connection.recv(100) == b"") == discarded
    assert shares.used == 0


def test_connections_of_a_trusted_proxy_are_not_one_address(serve: Serve) -> None:
    server = serve(MAX_CONNECTIONS=20, TRUSTED_PROXY=ATTACKER, **PATIENT, **KEYS)
    with held(server, 20, b"") as sockets:
        time.sleep(1)
        assert not refused(sockets)


def test_a_connection_that_sends_nothing_is_closed_without_an_answer(serve: Serve) -> None:
    server = serve(HEAD_S=3)
    with connect(server) as sender:
        assert sender.recv(1) == b""


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a"])
def test_the_head_of_a_request_has_a_deadline(serve: Serve, sent: bytes) -> None:
    server = serve(HEAD_S=3)
    with connect(server) as sender:
        sender.sendall(sent)
        given = answer(sender)
        assert (given.status, given.problem["code"]) == (408, "request_timeout")
        assert sender.recv(1) == b""


def test_a_second_head_has_a_deadline_from_its_first_byte(serve: Serve) -> None:
    server = serve(HEAD_S=3)
    with connect(server) as sender:
        sender.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(sender).status == 200
        time.sleep(4)
        sender.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(sender).status == 200, "idle between two requests"
        sender.sendall(b"GET /healthz HT")
        assert answer(sender).status == 408


def trickle(sender: socket.socket) -> None:
    """Send a byte at intervals until the server responds."""
    sender.settimeout(0.1)
    while True:
        with contextlib.suppress(TimeoutError, ConnectionError):
            sender.recv(1, socket.MSG_PEEK)
            sender.settimeout(PATIENCE_S)
            return
        with contextlib.suppress(ConnectionError):
            sender.sendall(b"x")


@pytest.mark.parametrize("limits", [{"BODY_S": 4}, {"BODY_RATE": 1_000_000}])
def test_a_slow_body_is_refused(serve: Serve, limits: dict[str, int]) -> None:
    server = serve(**limits)
    with connect(server) as sender:
        sender.sendall(half(100_000, PHOTO[:100]))
        trickle(sender)
        given = answer(sender)
        assert (given.status, given.problem["code"]) == (408, "request_timeout")
        assert given.headers["Connection"] == "close"
    assert submit(server, ATTACKER) == 202


def test_one_address_gets_half_of_the_bodies(serve: Serve) -> None:
    server = serve(MAX_BODIES=8, **PATIENT)
    with held(server, 8, half(1000, PHOTO[:100])) as sockets:
        late = refused_in_time(sockets, 4)
        assert len(late) == 4
        given = answer(late[0])
        assert (given.status, given.problem["code"]) == (429, "too_many_at_once")
        assert given.headers["Retry-After"] == str(given.problem["retry_after_s"])
        assert submit(server) == 202
        assert ask(server, ATTACKER, "GET", "/v1/queue").status == 200, "a request without a body"
    services.wait_until(lambda: submit(server, ATTACKER) == 202, "the bodies' end", PATIENCE_S)


def test_one_tenant_gets_half_of_the_bodies_from_any_addresses(serve: Serve, connection: Storage) -> None:
    server = serve(MAX_BODIES=8, **PATIENT, **KEYS)
    mine, theirs = (bearer(new_key(connection, tenant)) for tenant in ("acme", "other"))
    head = half(1000, PHOTO[:100]).replace(
        b"Content-Type", f"Authorization: {mine['Authorization']}\r\nContent-Type".encode(), 1
    )
    with ExitStack() as stack:
        sockets = [stack.enter_context(connect(server, f"127.0.1.{place}")) for place in range(1, 9)]
        for sender in sockets:
            sender.sendall(head)
        assert len(refused_in_time(sockets, 4)) == 4
        assert submit(server, VICTIM, **mine) == 429
        assert submit(server, VICTIM, **theirs) == 202


def test_the_bytes_of_unfinished_bodies_are_bounded(serve: Serve) -> None:
    """Without the bound, 60 unfinished uploads held 600 MiB."""
    server = serve(MAX_BODIES_BYTES=64 * MIB, **PATIENT)
    assert submit(server) == 202
    [process] = children(server.process.pid)
    before = resident_mib(process)
    with held(server, 60, half(10 * MIB, bytes(10 * MIB - 1))) as sockets:
        assert len(refused_in_time(sockets, 57)) == 57
        assert submit(server) == 202
        assert resident_mib(process) - before < 100


def resident_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    [kib] = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return kib / 1024


def test_a_refused_client_can_send_its_body_and_read_the_response(serve: Serve, connection: Storage) -> None:
    """http.client sends the whole body before it reads; a reset would hide the response."""
    server = serve(LIMIT_KEY="1/hour", **KEYS)
    key = bearer(new_key(connection))
    assert submit(server, VICTIM, **key) == 202
    given = ask(server, VICTIM, "POST", "/v1/jobs", bytes(10 * MIB), **{"Content-Type": "image/jpeg"}, **key)
    assert (given.status, given.problem["code"]) == (429, "rate_limited")
    assert given.headers["Connection"] == "close"
    assert ask(server, VICTIM, "POST", "/v1/jobs", bytes(10 * MIB)).status == 401


def test_draining_an_unread_body_is_bounded(serve: Serve) -> None:
    server = serve(**KEYS)
    started, piece = time.monotonic(), b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with connect(server) as sender:
        sender.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - started < PATIENCE_S:
                sender.sendall(piece)
        assert time.monotonic() - started < PATIENCE_S


def test_100_continue_is_sent_when_the_body_is_wanted(serve: Serve, connection: Storage) -> None:
    server, key = serve(**KEYS), bearer(new_key(connection))
    head = half(len(PHOTO)).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    with connect(server) as sender:
        sender.sendall(head)
        given = answer(sender)
        assert (given.status, given.headers["Connection"]) == (401, "close")
    with connect(server) as sender:
        sender.sendall(head.replace(b"\r\n", f"\r\nAuthorization: {key['Authorization']}\r\n".encode(), 1))
        assert sender.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sender.sendall(PHOTO)
        assert answer(sender).status == 202


@pytest.mark.parametrize(
    ("address", "owners"),
    [
        (("10.0.0.1", 5), ("10.0.0.1",)),
        (("2001:db8:1:2::9", 5, 0, 0), ("2001:db8:1:2::/64", "2001:db8:1::/48")),
        (("fe80::1%eth0", 5, 0, 2), ("fe80::/64", "fe80::/48")),
        (("10.9.0.1", 5), ()),
        (("::ffff:10.9.0.1", 5, 0, 0), ()),
        ("", ()),
    ],
)
def test_the_owner_of_a_connection(address: Any, owners: tuple[str, ...]) -> None:
    assert owners_of(address, networks("10.9.0.0/16")) == owners


def test_a_small_unread_body_keeps_the_connection(serve: Serve) -> None:
    server = serve(**KEYS)
    with connect(server) as sender:
        for _ in range(2):
            sender.sendall(half(len(PHOTO), PHOTO))
            assert answer(sender).status == 401


def test_bodies_without_a_credential_are_counted_before_they_are_read(serve: Serve) -> None:
    server = serve(LIMIT_ADDRESS="2/hour", PUBLIC_PAGE=1, SESSION_SECRET=SECRET, **PATIENT)
    request = (
        b"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    )
    with held(server, 5, request) as sockets:
        late = refused_in_time(sockets, 3)
        assert len(late) == 3
        assert answer(late[0]).problem["code"] == "rate_limited"


PREAMBLE = b"\r\n--" * (9 * MIB)
FORM = (
    b"POST %s HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n"
)


def test_preambles_delay_no_other_client(serve: Serve) -> None:
    """Six preambles of 36 MiB once delayed other clients by up to 40 s."""
    server = serve()
    batch = ask(server, ATTACKER, "POST", "/v1/batches", b"{}").headers["Location"]
    request = FORM % (f"{batch}/jobs".encode(), len(PREAMBLE)) + PREAMBLE

    def attack(_: int) -> Answer:
        with connect(server) as sender:
            sender.sendall(request)
            return answer(sender)

    with ThreadPoolExecutor(6) as pool:
        attacks = pool.map(attack, range(12))
        slowest = max(timed(lambda: submit(server)) for _ in range(20))
        for given in attacks:
            assert given.status in (413, 429)
            assert given.status == 429 or "36864 bytes" in given.problem["detail"]
    assert slowest < 10


def timed(act: Callable[[], object]) -> float:
    started = time.monotonic()
    act()
    return time.monotonic() - started


def test_a_path_is_not_logged(serve: Serve, tmp_path: Path) -> None:
    """Without Redis, each request with an unknown key is logged, without its path, which may contain anything."""
    server = serve(REDIS_URL=f"redis://127.0.0.1:{services.free_ports(1)}/0", **KEYS)
    assert ask(server, ATTACKER, "GET", "/a%0d%0aforged%1b%5b31m%e2%80%ae", **bearer(UNKNOWN)).status == 503
    log = (tmp_path / "gunicorn.log").read_text()
    assert "request_unavailable" in log
    assert "forged" not in log
