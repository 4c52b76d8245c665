"""Compares gunicorn's worker classes for the web server: part of `make bench-web`.

Real Redis and S3, one web process, no worker. Measures the cost of accepting a POST: first alone, then
while 200 sockets send a request byte by byte, then while 400 requests wait for jobs that never end.
"""

import contextlib
import http.client
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import pictures
import services

from storage.connection import connect
from storage.settings import Settings

POSTS, THREADS, SLOW, WAITERS = 400, 8, 200, 400
PHOTO = pictures.jpeg(640, 480)
CLASSES = {"gevent": [], "gthread, 16 threads": ["--threads", "16"], "sync": []}


def post(port: int) -> float:
    """Return the seconds that one POST took; infinity if it failed."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/v1/jobs", PHOTO, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        return time.perf_counter() - started if answer.status == 202 else float("inf")
    except OSError:
        return float("inf")
    finally:
        connection.close()


@contextlib.contextmanager
def slow_sockets(port: int, count: int) -> Iterator[None]:
    """Clients that send one byte of a request every half second."""
    stop = threading.Event()
    sockets = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sockets.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            sockets[-1].sendall(
                b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\n"
            )

    def dribble() -> None:
        while not stop.wait(0.5):
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.send(b"x")

    thread = threading.Thread(target=dribble)
    thread.start()
    yield
    stop.set()
    thread.join()
    for one in sockets:
        one.close()


@contextlib.contextmanager
def waiters(port: int, count: int, job_id: str) -> Iterator[None]:
    request = f"GET /v1/jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=60\r\n\r\n".encode()
    sockets = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            sockets.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            sockets[-1].sendall(request)
    time.sleep(1)
    yield
    for one in sockets:
        one.close()


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and its children."""
    total = 0.0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid or stat.parent.name == str(pid):
                total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def measure(port: int) -> tuple[float, float, int, float]:
    """Send POSTS posts from THREADS clients.

    Returns posts per second, p95 in ms, failures, wall seconds.
    """
    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        times = list(pool.map(lambda _: post(port), range(POSTS)))
    wall = time.perf_counter() - started
    good = [one for one in times if one != float("inf")]
    p95 = statistics.quantiles(good, n=20)[-1] * 1000 if len(good) > 1 else float("inf")
    return len(good) / wall, p95, len(times) - len(good), wall


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        redis, s3 = services.start_redis(folder), services.start_s3(folder, "secret")
        shared = {
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}/0", "S3_URL": f"http://127.0.0.1:{s3.port}",
            "S3_SECRET_KEY": "secret", "LOG_LEVEL": "ERROR",
        }  # fmt: skip
        objects = connect(Settings(s3_url=shared["S3_URL"], s3_secret_key="secret")).objects
        services.wait_until(lambda: services.prepared(objects), "the object store")
        print(f"{'worker class':22} {'load':34} {'POST/s':>7} {'p95 ms':>8} {'failed':>7} {'CPU ms/POST':>14}")
        try:
            for name, options in CLASSES.items():
                run_class(name, options, shared, folder)
        finally:
            redis.stop()
            s3.stop()


def run_class(name: str, options: list[str], shared: dict[str, str], folder: Path) -> None:
    port = services.free_ports(1)
    config = (services.ROOT / "deploy" / "gunicorn.py").read_text()
    kind = name.partition(",")[0]
    if kind != "gevent":
        config = config.replace("from gevent import monkey", "").replace("monkey.patch_all()", "")
    chosen = folder / f"{kind}.py"
    chosen.write_text(config)
    worker_class = [] if kind == "gevent" else ["-k", kind]
    command = ["gunicorn", "-c", str(chosen), *worker_class, *options, "web.app:create_app()"]
    env = services.environment(**shared, PORT=port)
    server = services.start(command, env, port, folder / f"{kind}.log")
    try:
        services.wait_until(lambda: post(port) != float("inf"), name)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/v1/jobs", PHOTO, {"Content-Type": "image/jpeg"})
        job_id = connection.getresponse().headers["Location"].rpartition("/")[2]
        connection.close()
        loads = {
            "alone": contextlib.nullcontext(),
            f"{SLOW} slow sockets": slow_sockets(port, SLOW),
            f"{WAITERS} waiting requests": waiters(port, WAITERS, job_id),
        }
        for load, held in loads.items():
            with held:
                before = cpu_s(server.process.pid)
                rate, p95, failed, _ = measure(port) if load == "alone" or name == "gevent" else brief(port)
                cpu_ms = (cpu_s(server.process.pid) - before) * 1000 / POSTS
            print(f"{name:22} {load:34} {rate:7.1f} {p95:8.1f} {failed:7d} {cpu_ms:14.2f}", flush=True)
    finally:
        server.stop()


def brief(port: int) -> tuple[float, float, int, float]:
    """Like `measure`, but stops if the first post fails: a stalled server would cost minutes."""
    return measure(port) if post(port) != float("inf") else (0.0, float("inf"), 1, 10.0)


if __name__ == "__main__":
    main()
