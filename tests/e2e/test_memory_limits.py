"""The real web server and worker under the loads that need most memory.

Their peaks must stay below the limits of docker-compose.yml.
"""

import http.client
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hostile
import pictures
import pytest
import rendered
import services
from damage import family
from operating import working
from PIL import Image
from services import SHIPPED_MODEL, Service
from specs import submit

from storage.connection import Storage
from web.app import create_app
from worker.engines import Engines
from worker.pipeline.pipeline import Pipeline

pytestmark = pytest.mark.alone

MARGIN = 0.9  # the share of a limit that may be used
PATIENCE_S, REPEATS = 400, 10
SIDE = 5000


def limit_mib(service: str) -> float:
    """The memory limit of a service in docker-compose.yml."""
    command = [str(Path(sys.executable).parent / "docker-compose"), "-f", str(services.ROOT / "docker-compose.yml")]
    env = {**os.environ, "ROLES": "/no/such/folder"}
    done = subprocess.run([*command, "config", "--format", "json"], env=env, capture_output=True, check=True)
    return int(json.loads(done.stdout)["services"][service]["mem_limit"]) / 1024**2


def peak_mib(pid: int) -> float:
    """The sum of the peaks of a process and its descendants: an upper bound of their common peak."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return (int(found[1]) / 1024 if found else 0) + sum(peak_mib(child) for child in family(pid))


@pytest.fixture
def server(connection: Storage, tmp_path: Path) -> Iterator[Service]:
    port, log = services.free_ports(1), tmp_path / "gunicorn.log"
    started = services.start(services.procfile("web"), services.joining(connection.settings, PORT=port), port, log)
    yield started
    started.stop()


@pytest.fixture
def worker(connection: Storage, tmp_path: Path) -> Iterator[Service]:
    connection.models.publish(SHIPPED_MODEL)
    log = tmp_path / "worker.log"
    # A loaded machine may need long for a photo.
    with working(connection, log, LEASE_S=200, STALL_S=PATIENCE_S) as started:
        yield started


def job_with_mask(connection: Storage, content: bytes) -> str:
    """Return the path of a finished job for this photo."""
    connection.models.publish(SHIPPED_MODEL)
    client = create_app(connection.settings).test_client()
    job = client.post("/v1/jobs", data=content, content_type="image/jpeg").get_json()
    pipeline = Pipeline(connection, Engines(connection), "here")
    while any(connection.jobs.queue().pending.values()):
        pipeline.run("drainer")
    return f"/v1/jobs/{job['id']}"


def ask(port: int, method: str, path: str, body: bytes = b"", kind: str = "") -> int:
    """Send a request and read the whole response. Returns the status.

    Repeats a request that is answered 503, as clients do: on a slow disk, Redis may need longer for
    a write than a request waits.
    """
    for _ in range(REPEATS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 503:
            break
        time.sleep(int(answer.headers["Retry-After"]))
    return answer.status


def corrected_mask() -> tuple[bytes, str]:
    """The largest corrected mask, in the colours of the shipped model. Returns body and content type."""
    content = pictures.encoded(Image.new("RGB", (SIDE, SIDE), (255, 122, 89)), "PNG", compress_level=9)
    fields = b'--x\r\nContent-Disposition: form-data; name="verdict"\r\n\r\ncorrected\r\n--x\r\n'
    file = b'Content-Disposition: form-data; name="mask"; filename="m.png"\r\n\r\n' + content
    return fields + file + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"


def test_the_web_server_stays_below_its_limit(connection: Storage, server: Service) -> None:
    webp = job_with_mask(connection, hostile.largest("webp lossless"))
    noisy = job_with_mask(connection, rendered.photo("jpeg noisy"))
    mask, kind = corrected_mask()
    loads: list[tuple[Any, ...]] = []
    for number in range(6):
        loads.append(("GET", f"{webp}/mask?format=overlay&alpha=0.{number + 1}"))
        loads.append(("GET", f"{noisy}/mask?format={('overlay', 'cutout', 'rle', 'geojson')[number % 4]}"))
        loads.append(("GET", f"{(webp, noisy)[number % 2]}/image"))
        loads.append(("POST", f"{webp}/feedback", mask, kind))
    with ThreadPoolExecutor(len(loads)) as pool:
        statuses = list(pool.map(lambda load: ask(server.port, *load), loads))
    assert set(statuses) <= {200, 201, 422}, statuses
    assert statuses.count(200) >= 12
    taken = peak_mib(server.process.pid)
    print(f"web: {taken:.0f} MiB at most")
    assert taken < MARGIN * limit_mib("web")


def test_a_worker_stays_below_its_limit(connection: Storage, worker: Service) -> None:
    photos = [hostile.largest(name) for name in ("webp lossless", "webp", "png RGBA", "jpeg CMYK", "png I;16")]
    animations = [hostile.small_frame((SIDE, SIDE), (1250, 1250))] * 4
    jobs = [submit(connection, content).id for content in (*photos, *animations) * 2]
    connection.tickets.send(1)

    def ended() -> bool:
        found = [connection.jobs.get(job_id) for job_id in jobs]
        return all(job is not None and job.status.final for job in found)

    services.wait_until(ended, "the end of all jobs", PATIENCE_S)
    statuses = [job.status.value for job_id in jobs if (job := connection.jobs.get(job_id))]
    assert set(statuses) == {"succeeded"}
    taken = peak_mib(worker.process.pid)
    print(f"worker: {taken:.0f} MiB at most")
    assert taken < MARGIN * limit_mib("worker")
