"""Renderings of two clients on the real server: one client's many do not delay the other's."""

import http.client
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile
import pictures
import pytest
import services
from callers import SECRET, bearer, guarded, new_key
from PIL import Image
from services import Service

from storage.connection import Storage
from storage.settings import Settings

MANY, PATIENCE_S = 8, 300


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "gunicorn.log"


@pytest.fixture(scope="module")
def keyed_server(settings: Settings, log: Path) -> Iterator[Service]:
    """One web process that requires keys."""
    port = services.free_ports(1)
    env = services.joining(settings, PORT=port, REQUIRE_KEYS=1, SESSION_SECRET=SECRET, KEY_CACHE_S=0)
    started = services.start(services.procfile("web"), env, port, log)
    yield started
    started.stop()
    assert "Traceback" not in log.read_text()


@dataclass
class Client:
    """A client with its own key and a finished job."""

    port: int
    headers: dict[str, str]
    job_id: str = ""

    def get(self, path: str) -> tuple[int, bytes]:
        return self.send("GET", path)

    def send(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.request(method, path, body or None, self.headers | ({"Content-Type": kind} if kind else {}))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def overlay(self, number: int) -> str:
        return f"/v1/jobs/{self.job_id}/mask?format=overlay&alpha=0.{number + 1}"


@pytest.fixture
def clients(connection: Storage, keyed_server: Service, work: Callable[[], None]) -> tuple[Client, Client]:
    """One client with the largest photo, and one with a small photo."""
    made = []
    app = guarded(connection).test_client()
    for tenant, photo in (("greedy", hostile.largest("jpeg CMYK")), ("modest", pictures.jpeg())):
        headers = bearer(new_key(connection, tenant))
        job = app.post("/v1/jobs", data=photo, content_type="image/jpeg", headers=headers).get_json()
        made.append(Client(keyed_server.port, headers, job["id"]))
    while any(connection.jobs.queue().pending.values()):
        work()
    return made[0], made[1]


def while_others_wait(ask: Callable[[int], Any], act: Callable[[], None]) -> int:
    """Return how many of MANY responses had arrived when `act` was done."""
    with ThreadPoolExecutor(MANY) as pool:
        asked: list[Future[Any]] = [pool.submit(ask, number) for number in range(MANY)]
        time.sleep(1)  # they are queued
        act()
        done = sum(one.done() for one in asked)
        assert {one.result(PATIENCE_S)[0] for one in asked} <= {200, 201}
    return done


def test_one_callers_overlays_delay_another_by_about_one_rendering(clients: tuple[Client, Client]) -> None:
    greedy, modest = clients
    before: list[int] = []

    def ask() -> None:
        before.append(modest.get(modest.overlay(0))[0])

    done = while_others_wait(lambda number: greedy.get(greedy.overlay(number)), ask)
    assert before == [200]
    assert done <= MANY - 3, "the other caller waited for nearly all renderings"


def test_corrected_masks_take_turns_with_renderings(clients: tuple[Client, Client]) -> None:
    greedy, modest = clients
    content = io.BytesIO()
    Image.new("L", (5000, 5000), 2).save(content, "PNG")
    fields = b'--x\r\nContent-Disposition: form-data; name="verdict"\r\n\r\ncorrected\r\n--x\r\n'
    file = b'Content-Disposition: form-data; name="mask"; filename="m.png"\r\n\r\n' + content.getvalue()
    body, kind = fields + file + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"

    def ask() -> None:
        assert modest.get(modest.overlay(1))[0] == 200

    path = f"/v1/jobs/{greedy.job_id}/feedback"
    assert while_others_wait(lambda _: greedy.send("POST", path, body, kind), ask) <= MANY - 3


def test_no_rendering_is_made_for_a_disconnected_client(clients: tuple[Client, Client], log: Path) -> None:
    greedy, modest = clients
    for number in range(MANY):
        lines = [f"GET {greedy.overlay(number)} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in greedy.headers.items()]
        with socket.create_connection(("127.0.0.1", greedy.port)) as sender:
            sender.sendall("\r\n".join([*lines, "", ""]).encode())
            time.sleep(0.1)
    assert greedy.get(greedy.overlay(0))[0] == 200
    services.wait_until(lambda: log.read_text().count("ClientLeft") >= MANY - 4, "the end of those that were left", 120)
    assert modest.get(modest.overlay(2))[0] == 200
    assert json.loads(modest.get(f"/v1/jobs/{modest.job_id}")[1])["status"] == "succeeded"
