"""A real browser, and web processes for it."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import services
from callers import SECRET
from playwright.sync_api import Browser, Page, sync_playwright
from required import lacks
from stack import Stack

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

Opened = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        lacks("no chromium on the PATH")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser) -> Opened:
    """Return a context manager that opens the page on a port, in a window without cookies.

    An error that the browser reports fails the test.
    """

    @contextmanager
    def open_page(port: int, path: str = "/") -> Iterator[Page]:
        page = browser.new_page(base_url=f"http://127.0.0.1:{port}")
        complaints: list[str] = []
        refused = re.compile("the server responded with a status of (4|503)")  # the browser itself reports an upload's
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text)
                if message.type == "error" and not refused.search(message.text)
                else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        yield page
        page.close()
        assert complaints == []

    return open_page


@pytest.fixture
def page(opened: Opened, stack: Stack) -> Iterator[Page]:
    """The stack's page in a browser."""
    with opened(stack.port) as made:
        yield made


@pytest.fixture
def guarded(stack: Stack, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Yield a function that starts another web process of the stack and returns its port."""
    processes = []

    def start(**changes: str) -> int:
        port = services.free_ports(1)
        log = tmp_path / f"{port}.log"
        process = stack.run_line("web", log, PORT=str(port), SESSION_SECRET=SECRET, **changes)
        processes.append(process)
        services.wait_until(lambda: "Booting worker" in log.read_text(), "the web")
        return port

    yield start
    for process in processes:
        process.terminate()
        assert process.wait(services.PATIENCE_S) == 0
