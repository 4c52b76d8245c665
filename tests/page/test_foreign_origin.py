"""A page of another origin, in a browser on the machine of `make run`, can neither read nor change."""

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pictures
import pytest
from listeners import everything_of, ports
from playwright.sync_api import Browser, Page
from stack import Stack

# Returns what the page could read. A no-cors request is sent, but its response stays hidden.
ASK = """async ([url, method, body]) => {
    try {
        const answer = await fetch(url, {method, body, mode: "cors"});
        return `${answer.status} ${await answer.text()}`;
    } catch {
        await fetch(url, {method, body, mode: "no-cors"}).catch(() => undefined);
        return "";
    }
}"""
ATTACKS = (
    ("GET", "/", None), ("GET", "/buckets/?limit=100", None), ("GET", "/dir/status", None), ("GET", "/status", None),
    ("GET", "/col/delete?collection=segue-uploads", None), ("GET", "/col/delete?collection=segue-results", None),
    ("GET", "/dir/assign", None), ("POST", "/buckets/segue-models/aliases.json", '{"stable": "evil/1"}'),
)  # fmt: skip


# The responses of S3 without credentials: forbidden, not supported, or alive.
NOTHING = re.compile("40[035] |200 $")


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def foreign(browser: Browser) -> Iterator[Page]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        threading.Thread(target=server.serve_forever).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{server.server_port}/")
        yield page
        page.close()
        server.shutdown()


def test_a_page_of_another_origin_reads_and_changes_nothing(foreign: Page, stack: Stack) -> None:
    job = stack.finished(stack.submit(pictures.jpeg()))
    kept = {name: stack.http.get(job["links"][name]).content for name in ("image", "mask")}
    s3 = int(stack.env["S3_PORT"])
    found = ports(everything_of(stack))
    assert len(found) > 7
    for port in found:
        for method, path, body in ATTACKS:
            read = foreign.evaluate(ASK, [f"http://127.0.0.1:{port}{path}", method, body])
            assert not read or (port == s3 and NOTHING.match(read)), (port, path, read)
    assert {name: stack.http.get(job["links"][name]).content for name in kept} == kept
    assert stack.finished(stack.submit(pictures.jpeg()))["model"]["name"] == "pets"
