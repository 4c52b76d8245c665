"""HTTP servers that send the responses of a test."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def server(answer: Callable[[int], Answer], port: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """Answer the n-th request with answer(n). Yields the URL and the headers of all requests.

    If `answer` raises ConnectionError, the connection is closed without a response.
    """
    seen: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen.append(self.headers)
            try:
                status, headers, body = answer(len(seen) - 1)
            except ConnectionError:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", seen
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def problem_of(status: int, code: str, **headers: str) -> Answer:
    body = json.dumps({"status": status, "code": code, "title": "No", "detail": f"Because of {code}."}).encode()
    return status, {"Content-Type": "application/problem+json", **headers}, body
