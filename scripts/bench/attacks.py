"""Attacks of one client on a web server that has other clients.

Each runs until its process is killed.
"""

import contextlib
import http.client
import io
import json
import resource
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import hostile
from PIL import Image

MIB = 1024 * 1024
HELD_SESSIONS, HELD_UPLOADS, HELD_APPENDS, PREAMBLES, OVERLAYS, MASKS = 4050, 60, 40, 6, 20, 20
PREAMBLE = b"\r\n--" * (9 * MIB)
SIDE = 5000  # pixels: a square photo of the largest accepted size
PATIENCE_S = 600


@dataclass(frozen=True)
class Target:
    """A web server, with the attacker's address, key, and the id of one of its jobs that has a mask."""

    port: int
    address: str
    key: str
    job_id: str


def worst_photo() -> bytes:
    """25 megapixels, and as slow to decode as an accepted photo can be."""
    return hostile.largest("jpeg CMYK")


def head(target: Target, method: str, path: str, content_type: str = "", length: int = 0) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {target.key}"]
    lines += [f"Content-Type: {content_type}", f"Content-Length: {length}"] if content_type else []
    return "\r\n".join([*lines, "", ""]).encode()


def held(target: Target, count: int, request: bytes) -> None:
    """Keep `count` connections with an unfinished request open.

    Reopen those that the server closes.
    """
    open_files = count + 200
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (open_files, max(open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    )
    with ThreadPoolExecutor(min(count, 64)) as pool:
        senders: list[socket.socket | None] = [None] * count
        while True:
            senders = list(pool.map(lambda sender: sender if alive(sender) else sent(target, request), senders))
            time.sleep(0.2)


def sent(target: Target, request: bytes) -> socket.socket | None:
    try:
        sender = socket.create_connection(("127.0.0.1", target.port), timeout=5, source_address=(target.address, 0))
    except OSError:
        return None
    with contextlib.suppress(OSError):
        sender.sendall(request)
    return sender


def alive(sender: socket.socket | None) -> bool:
    """Whether the server has neither responded nor closed the connection."""
    if sender is None:
        return False
    sender.setblocking(False)
    try:
        sender.recv(1)
    except BlockingIOError:
        return True
    except OSError:
        pass
    sender.close()
    return False


def half_sessions(target: Target) -> None:
    held(target, HELD_SESSIONS, head(target, "POST", "/session", "application/json", 100) + b'{"key": ')


def half_uploads(target: Target) -> None:
    held(target, HELD_UPLOADS, head(target, "POST", "/v1/jobs", "image/jpeg", 10 * MIB) + bytes(10 * MIB - 1))


def half_appends(target: Target) -> None:
    batch = json.loads(answer(target, head(target, "POST", "/v1/batches", "application/json", 2) + b"{}"))["id"]
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n' + bytes(31 * MIB)
    kind = "multipart/form-data; boundary=x"
    held(target, HELD_APPENDS, head(target, "POST", f"/v1/batches/{batch}/jobs", kind, 32 * MIB) + part)


def preambles(target: Target) -> None:
    kind = "multipart/form-data; boundary=x"
    request = head(target, "POST", "/v1/jobs", kind, len(PREAMBLE)) + PREAMBLE
    repeated(PREAMBLES, lambda: answer(target, request))


def abandoned_overlays(target: Target) -> None:
    """Request overlays and disconnect at once.

    Each has a different opacity, so that none is cached.
    """

    def ask() -> None:
        alpha = time.time_ns() % 900 / 1000 + 0.05
        sender = sent(target, head(target, "GET", f"/v1/jobs/{target.job_id}/mask?format=overlay&alpha={alpha:.3f}"))
        time.sleep(0.2)
        if sender:
            sender.close()

    repeated(OVERLAYS, ask)


def corrected_masks(target: Target) -> None:
    content = io.BytesIO()
    Image.new("P", (SIDE, SIDE)).save(content, "PNG")
    fields = b'--x\r\nContent-Disposition: form-data; name="verdict"\r\n\r\ncorrected\r\n--x\r\n'
    file = b'Content-Disposition: form-data; name="mask"; filename="m.png"\r\n\r\n' + content.getvalue()
    body = fields + file + b"\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x"
    request = head(target, "POST", f"/v1/jobs/{target.job_id}/feedback", kind, len(body)) + body
    repeated(MASKS, lambda: answer(target, request))


def worst_uploads(target: Target) -> None:
    content = worst_photo()
    request = head(target, "POST", "/v1/jobs", "image/jpeg", len(content)) + content
    repeated(8, lambda: answer(target, request))


def answer(target: Target, request: bytes) -> bytes:
    """Send a request and return the response's body; empty if there was no response."""
    sender = sent(target, request)
    if sender is None:
        return b""
    with contextlib.closing(sender), contextlib.suppress(OSError, http.client.HTTPException):
        sender.settimeout(PATIENCE_S)
        received = http.client.HTTPResponse(sender)
        received.begin()
        return received.read()
    return b""


def repeated(clients: int, act: Callable[[], object]) -> None:
    """Call `act` in `clients` threads, forever, with a short pause, so that refusals do not busy the attacker."""

    def repeat(_: int) -> None:
        while True:
            act()
            time.sleep(0.05)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(repeat, range(clients)))


ATTACKS: dict[str, Callable[[Target], None]] = {
    f"{HELD_SESSIONS:,} half bodies to /session": half_sessions,
    f"{HELD_UPLOADS} unfinished uploads": half_uploads,
    f"{HELD_APPENDS} unfinished appends": half_appends,
    f"{PREAMBLES} multipart preambles of 36 MiB": preambles,
    f"{OVERLAYS} abandoned overlays of 25 megapixels": abandoned_overlays,
    f"{MASKS} corrected masks of 25 megapixels": corrected_masks,
    "8 uploads of 25 megapixels": worst_uploads,
}
