"""Only the web server and S3 answer on the ports of a stack, and S3 only with credentials."""

import contextlib
import socket
import ssl
from contextlib import ExitStack

import httpx
import pictures
import pytest
from listeners import everything_of, ports, unix_sockets
from stack import Stack

LOOPBACK = "0100007F"
FOREIGN = {"Origin": "http://elsewhere.example"}
# The response of SeaweedFS' servers to a client without a certificate.
NO_TLS = "Client sent an HTTP request to an HTTPS server."
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
PATHS = (
    "/", "/?pretty=y", "/status", "/dir/status", "/cluster/status", "/dir/assign", "/metrics", "/debug/pprof/",
    "/buckets/", "/buckets/segue-uploads/", "/col/delete?collection=segue-uploads", "/vol/status", "/1,01637037d6",
    "/api/config", "/healthz",
)  # fmt: skip


@pytest.fixture(scope="module")
def inner(stack: Stack) -> list[int]:
    """Every port except those of the web server and of S3, which authenticate their callers."""
    open_on = ports(everything_of(stack))
    assert {stack.port, stack.redis_port, int(stack.env["S3_PORT"])} < set(open_on)
    assert set(open_on.values()) == {LOOPBACK}
    return sorted(set(open_on) - {stack.port, int(stack.env["S3_PORT"])})


def test_s3_refuses_requests_without_credentials(stack: Stack) -> None:
    for path in ("/", "/segue-uploads", "/segue-uploads?list-type=2", "/segue-models/aliases.json"):
        for method in ("GET", "PUT", "DELETE", "POST", "HEAD"):
            answer = httpx.request(method, f"http://127.0.0.1:{stack.env['S3_PORT']}{path}", headers=FOREIGN)
            assert answer.status_code in (400, 403, 405), (method, path)


def test_an_inner_port_answers_nothing_over_http(inner: list[int]) -> None:
    assert len(inner) > 5
    for port in inner:
        for path in PATHS:
            for method in ("GET", "POST", "DELETE"):
                try:
                    answer = httpx.request(method, f"http://127.0.0.1:{port}{path}", headers=FOREIGN, timeout=5)
                except (httpx.RemoteProtocolError, httpx.ReadError):
                    continue
                assert (answer.status_code, answer.text.strip()) == (400, NO_TLS), (port, method, path)


def test_an_inner_port_answers_nothing_over_grpc_or_tls(inner: list[int], stack: Stack) -> None:
    for port in set(inner) - {stack.redis_port}:
        for secured in (False, True):
            assert http2_response(port, secured) in (b"", NO_TLS.encode()), (port, secured)


def http2_response(port: int, secured: bool) -> bytes:
    """Send the HTTP/2 preface, which gRPC uses. Returns the response; empty if the server hangs up."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    unverified.set_alpn_protocols(["h2"])
    with contextlib.suppress(ssl.SSLError, ConnectionError), ExitStack() as opened:
        sender = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        if secured:
            sender = opened.enter_context(unverified.wrap_socket(sender))
        sender.sendall(HTTP2)
        reader = opened.enter_context(sender.makefile("rb"))
        return reader.read().rpartition(b"\r\n\r\n")[2]
    return b""


def test_no_socket_file_is_open_to_another_user(stack: Stack) -> None:
    sockets = unix_sockets(everything_of(stack))
    assert sockets
    assert not [path for path in sockets if path.exists() and path.stat().st_mode & 0o077]


def test_the_stack_still_works(stack: Stack) -> None:
    assert stack.finished(stack.submit(pictures.jpeg()))["status"] == "succeeded"
