"""Attacks on a real server: broken HTTP, endless bodies, and clients that are slow, hang or stay."""

import contextlib
import http.client
import re
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pictures
import pytest
import services
from services import Service

from storage.connection import Storage

PROMPT_S = 30  # generous for a loaded machine; a hang takes longer
SLOW, IDLE, ORDINARY = 200, 1000, 50
PHOTO = pictures.jpeg()
OURS = re.compile(rb"Traceback|\.py\b|/tmp/|/usr/|site-packages")
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


def opened(server: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PROMPT_S)


def answered(sender: socket.socket) -> tuple[int, bytes]:
    """Return the status and body of the next response."""
    answer = http.client.HTTPResponse(sender)
    answer.begin()
    return answer.status, answer.read()


def ordinary_post(server: Service, headers: dict[str, str] | None = None) -> str:
    """Submit a photo as a normal client does. Returns the job's path."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PROMPT_S)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/jobs", PHOTO, {"Content-Type": "image/jpeg", **(headers or {})})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 202
        return str(answer.headers["Location"])


def ordinary_batch(server: Service) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PROMPT_S)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/batches", b"{}")
        return str(connection.getresponse().headers["Location"])


def ordinary_cancel(server: Service, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PROMPT_S)
    with contextlib.closing(connection):
        connection.request("POST", f"{path}/cancel")
        assert connection.getresponse().status == 200


def ordinary_get(server: Service, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PROMPT_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, len(answer.read()) > 0) == (200, True)


def test_an_endless_chunked_body_is_cut_off(server: Service, connection: Storage) -> None:
    """The 413 is sent when the limit is reached; the sender never finishes."""
    started, piece = time.monotonic(), b"10000\r\n" + b"\xff\xd8\xff\0" * 0x4000 + b"\r\n"
    with opened(server) as sender:
        sender.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(200):  # 13 MB; the limit is 10
                sender.sendall(piece)
        assert answered(sender)[0] == 413
    assert time.monotonic() - started < PROMPT_S
    assert sum(connection.jobs.queue().pending.values()) == 0
    ordinary_post(server)


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/models/rollback", "/session", "{job}/feedback", "{batch}/jobs"])
def test_an_endless_body_is_cut_off_on_every_route(server: Service, path: str) -> None:
    head, piece, started = POST, b"10000\r\n" + b" " * 0x10000 + b"\r\n", time.monotonic()
    if "{job}" in path:
        path = path.replace("{job}", ordinary_post(server))
    if "{batch}" in path:
        path = path.replace("{batch}", ordinary_batch(server))
        head = head.replace(b"image/jpeg", b"multipart/form-data; boundary=b")
    head = head.replace(b"/v1/jobs", path.encode()).replace(b"image/jpeg", b"application/json")
    with opened(server) as sender:
        sender.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(700):  # 46 MB
                sender.sendall(piece)
        status, body = answered(sender)
        assert status == 413, body
    assert time.monotonic() - started < PROMPT_S
    ordinary_get(server, "/healthz")


BROKEN = {
    "length below the body": POST + b"Content-Length: 3\r\n\r\n" + PHOTO,
    "length of nothing": POST + b"Content-Length: 0\r\n\r\n",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length in letters": POST + b"Content-Length: many\r\n\r\n",
    "an endless length": POST + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n",
    "a length of 100 GB": POST + b"Content-Length: 100000000000\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "length and chunks": POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a broken chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: gzip, chunked, x\r\n\r\n0\r\n\r\n",
    "a huge header": GET + b"X-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "10,000 headers": GET + b"X-A: b\r\n" * 10_000 + b"\r\n",
    "a huge request line": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a header of control characters": GET + b"X-A: a\x00b\x01c\r\n\r\n",
    "a header's name of control characters": GET + b"X\x00A: a\r\n\r\n",
    "a folded header": GET + b"X-A: a\r\n b\r\n\r\n",
    "a space before the colon": GET + b"X-A : a\r\n\r\n",
    "a null byte in the path": b"GET /v1/jobs/\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "invalid UTF-8 in the path": b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "raw bytes in the query": POST.replace(b"/jobs", b"/jobs?priority=\xff\xfe") + b"Content-Length: 1\r\n\r\nx",
    "a path above the root": b"GET /static/../../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "another server's address": b"GET http://evil.example/v1/jobs/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown method": b"BREW /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TRACE": b"TRACE /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Secret: 1\r\n\r\n",
    "an unknown version": b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "noise": b"\x00\xff" * 5000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_requests_are_refused(server: Service, name: str) -> None:
    """The server refuses some before they reach the app: a status below 500 or a closed connection."""
    started = time.monotonic()
    with opened(server) as sender:
        try:
            sender.sendall(BROKEN[name])
            status, body = answered(sender)
        except (ConnectionError, http.client.BadStatusLine):
            status, body = 400, b""
    # RFC 9112 requires 501 for an unknown transfer coding.
    assert 400 <= status < 500 or (name, status) == ("an unknown coding", 501), body
    assert not OURS.search(body), body
    assert time.monotonic() - started < PROMPT_S
    ordinary_get(server, "/healthz")


MULTIPART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + PHOTO
FORM = POST.replace(b"image/jpeg", b"multipart/form-data; boundary=b")
CUT = {
    "raw": POST + b"Content-Length: %d\r\n\r\n" % (len(PHOTO) + 100) + PHOTO,
    "multipart": FORM + b"Content-Length: %d\r\n\r\n" % (len(MULTIPART) + 7) + MULTIPART,
    "chunked": POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(PHOTO) + 100) + PHOTO,
    "chunked, without an end": POST + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(PHOTO) + PHOTO + b"\r\n",
}


@pytest.mark.parametrize("name", CUT)
def test_half_an_upload_stores_nothing_and_keeps_no_key(server: Service, connection: Storage, name: str) -> None:
    started, key = time.monotonic(), b"\r\nIdempotency-Key: cut\r\nContent-Type"
    with opened(server) as sender:
        sender.sendall(CUT[name].replace(b"\r\nContent-Type", key, 1))
        sender.shutdown(socket.SHUT_WR)
        assert answered(sender)[0] == 400
    assert time.monotonic() - started < PROMPT_S
    assert sum(connection.jobs.queue().pending.values()) == 0
    assert ordinary_post(server, {"Idempotency-Key": "cut"})


@contextlib.contextmanager
def many_sockets(server: Service, requests: list[bytes]) -> Iterator[list[socket.socket]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * len(requests))), hard))
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(opened(server)) for _ in requests]
        for sender, request in zip(sockets, requests, strict=True):
            sender.sendall(request)
        yield sockets
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def timed(server: Service, path: str) -> tuple[float, float]:
    """Return the seconds that a POST and a GET take."""
    started = time.monotonic()
    ordinary_post(server)
    posted = time.monotonic()
    ordinary_get(server, path)
    return posted - started, time.monotonic() - posted


def waiting_for(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\n\r\n".encode()


def test_slow_and_waiting_clients_do_not_delay_others(server: Service, connection: Storage) -> None:
    queued = ordinary_post(server)
    half_heads = [POST] * (SLOW // 2)
    half_bodies = [POST + b"Content-Length: 9999\r\n\r\n" + PHOTO[:500]] * (SLOW // 2)
    with many_sockets(server, half_heads + half_bodies + [waiting_for(queued)] * IDLE) as sockets:
        services.wait_until(lambda: subscribed(connection), "the waiters")
        with ThreadPoolExecutor(8) as pool:
            times = list(pool.map(lambda _: timed(server, queued), range(ORDINARY)))
        assert max(max(both) for both in times) < PROMPT_S
        for sender in sockets[:SLOW]:
            sender.setblocking(False)
            with pytest.raises(BlockingIOError):  # the server has neither closed nor answered them
                sender.recv(1)
        ordinary_cancel(server, queued)  # otherwise the server would hold the waiters' connections for 30 s


def test_a_thousand_waiters_for_one_job_all_get_a_response(server: Service, connection: Storage) -> None:
    queued = ordinary_post(server)
    with many_sockets(server, [waiting_for(queued)] * IDLE) as sockets:
        services.wait_until(lambda: subscribed(connection), "the waiters")
        ordinary_cancel(server, queued)
        assert [answered(sender)[0] for sender in sockets] == [200] * IDLE


def subscribed(connection: Storage) -> bool:
    return any(count for _, count in connection.jobs.client.pubsub_numsub(*connection.jobs.client.pubsub_channels()))
