"""Measures how long the web server takes to refuse hostile requests, sent in sequence: part of `make bench-web`."""

import http.client
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import hostile
from waiters import web

MUTATIONS = 600
PARTS = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="image"; filename="%d.jpg"\r\n\r\nx\r\n' % number
    for number in range(10_000)
)
Request = tuple[str, str, bytes, dict[str, str]]


def requests() -> Iterator[Request]:
    image = {"Content-Type": "image/jpeg"}
    for content in hostile.bombs().values():
        yield "POST", "/v1/jobs", content, image
    for _, content in hostile.mutations(MUTATIONS):
        yield "POST", "/v1/jobs", content, image
    yield "POST", "/v1/jobs", b"x" * 12_000_000, image
    yield "POST", "/v1/jobs", PARTS + b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    for nested in (b"[" * 100_000, b'{"a":' * 50_000):
        yield "POST", "/v1/batches", nested, {"Content-Type": "application/json"}
    for path in ("/v1/jobs/../../etc/passwd", "/v1/jobs/" + "9" * 5000, "/static/..%2f..%2fapp.py"):
        yield "GET", path, b"", {}


def answered_ms(port: int, request: Request) -> float:
    method, path, body, headers = request
    connection, started = http.client.HTTPConnection("127.0.0.1", port, timeout=60), time.perf_counter()
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 500:
            raise RuntimeError(f"{method} {path[:60]}: {answer.status}")
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server refused it before the whole body was sent
    finally:
        connection.close()
    return (time.perf_counter() - started) * 1000


def main() -> None:
    with web() as one:
        times = [answered_ms(one.port, request) for request in requests()]
    hundredths = statistics.quantiles(times, n=100)
    print(
        f"{len(times)} hostile requests: median {hundredths[49]:.0f} ms, p99 {hundredths[98]:.0f} ms, "
        f"worst {max(times):.0f} ms, none a 5xx"
    )


if __name__ == "__main__":
    main()
