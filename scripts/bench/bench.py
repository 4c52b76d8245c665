"""Compares the cost of a job with the cost of its bare work, in one run: `make bench`.

Wall times vary on shared machines: compare the ratios and the CPU milliseconds.
"""

import http.client
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

import numpy as np
import pictures
import queue_cost
import rebuild
import records
from PIL import Image
from services import ROOT, SHIPPED_MODEL
from stack import Stack, children, command_line

from model.data import full_size_examples
from model.images import confidence, to_levels
from model.masks import to_mask
from model.png import to_mask_png
from model.segmenter import Segmenter
from storage.photos.confidence import CHUNK, MOST, pack
from storage.photos.photo import decode
from storage.settings import Settings

SIZE = (640, 480)
JOBS, CLIENTS, IDLE_JOBS, BARE, ETA_JOBS = 500, 8, 30, 160, 2000
PROCESSES = {"web": "gunicorn", "workers": "-Q segment", "housekeeper": "-Q control", "redis": "-server", "s3": "weed"}


def photos() -> list[bytes]:
    """640x480 JPEGs: full-size photos of the data pack if it is installed, otherwise synthetic ones."""
    root = Path(os.environ.get("SEGUE_DATA") or ROOT / "../shared/data/pets160")
    if not root.is_dir():
        return [pictures.jpeg(*SIZE, seed) for seed in range(36)]
    images = [pair.open()[0].resize(SIZE, Image.Resampling.LANCZOS) for pair in full_size_examples(root)]
    return [pictures.encoded(image, quality=90) for image in images]


def bare_work(contents: list[bytes]) -> tuple[float, float]:
    """Decode, infer in micro-batches and encode, in one thread.

    Returns images per second, CPU ms per image.
    """
    segmenter, settings = Segmenter(SHIPPED_MODEL), Settings()
    size = 2 * segmenter.card.input_size
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, BARE, settings.micro_batch):
        batch = [contents[i % len(contents)] for i in range(start, start + settings.micro_batch)]
        inputs = [segmenter.to_input(decode(content, settings, size)[1]) for content in batch]
        for logits in segmenter.engine.logits(np.stack(inputs)):
            levels = to_levels(confidence(logits), MOST)
            sure = pack(levels.tobytes(), levels.shape[1])
            to_mask_png(to_mask(logits, *SIZE), segmenter.card.labels, {}, {CHUNK: sure})
    return BARE / (time.perf_counter() - wall), (time.process_time() - cpu) * 1000 / BARE


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=70)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, str]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, names)
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.headers.get("Location", "")

    def submit(self, content: bytes) -> str:
        status, body, location = self.request("POST", "/v1/jobs", content, Content_Type="image/jpeg")
        if status not in (200, 202):
            raise RuntimeError(body.decode())
        return location

    def wait(self, location: str) -> None:
        while True:
            _, body, _ = self.request("GET", location, Prefer="wait=30")
            if b'"status":"succeeded"' in body:
                return
            if b'"status":"queued"' not in body and b'"status":"running"' not in body:
                raise RuntimeError(body.decode())


def idle_latency_ms(stack: Stack, content: bytes) -> list[float]:
    """Times from the POST until the mask has been received, on an idle stack."""
    client, times = Client(stack.port), []
    for _ in range(IDLE_JOBS):
        started = time.perf_counter()
        location = client.submit(content)
        client.wait(location)
        client.request("GET", f"{location}/mask")
        times.append((time.perf_counter() - started) * 1000)
        time.sleep(0.05)
    return times


def throughput(stack: Stack, contents: list[bytes]) -> tuple[float, float]:
    """Send JOBS single uploads on CLIENTS connections.

    Returns images per second until the last one has ended, and uploads per second.
    """

    def submit_some(number: int) -> list[str]:
        client = Client(stack.port)
        return [client.submit(contents[i % len(contents)]) for i in range(number, JOBS, CLIENTS)]

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        locations = [location for part in pool.map(submit_some, range(CLIENTS)) for location in part]
    submitted = time.perf_counter() - started
    client = Client(stack.port)
    for location in reversed(locations):
        client.wait(location)
    return JOBS / (time.perf_counter() - started), JOBS / submitted


def one_throughput(stack: Stack, contents: list[bytes]) -> int:
    """Run `throughput` once and return the number of jobs."""
    throughput(stack, contents)
    return JOBS


def eta_errors(stack: Stack, contents: list[bytes], meanwhile: Callable[[], None]) -> str:
    """Send ETA_JOBS single uploads, and compare each ETA at submission with the time that the job took.

    `meanwhile`: runs in parallel to the uploads.
    """

    def submit_some(number: int) -> list[dict[str, Any]]:
        client, accepted = Client(stack.port), []
        for i in range(number, ETA_JOBS, CLIENTS):
            _, body, _ = client.request("POST", "/v1/jobs", contents[i % len(contents)], Content_Type="image/jpeg")
            accepted.append(json.loads(body))
        return accepted

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        changing = pool.submit(meanwhile)
        jobs = [job for part in pool.map(submit_some, range(CLIENTS)) for job in part]
        changing.result()
    client = Client(stack.port)
    pairs, inside = [], 0
    for job in sorted(jobs, key=lambda job: str(job["id"]), reverse=True):
        client.wait(job["links"]["self"])
        actual = json.loads(client.request("GET", job["links"]["self"])[1])["timings_ms"]["total"] / 1000
        if job["queue"] and job["queue"]["eta_s"] is not None:
            pairs.append((job["queue"]["eta_s"], actual))
            inside += job["queue"]["eta_low_s"] <= actual <= job["queue"]["eta_high_s"]
    errors = [abs(eta - actual) for eta, actual in pairs]
    relative = [abs(eta - actual) / max(1.0, actual) for eta, actual in pairs]
    return (
        f"ETA error of {len(pairs)} submissions: median {statistics.median(errors):.1f} s "
        f"({statistics.median(relative):.0%}), p90 {statistics.quantiles(errors, n=10)[-1]:.1f} s "
        f"({statistics.quantiles(relative, n=10)[-1]:.0%}); {inside / len(pairs):.0%} within the predicted range; "
        f"waits up to {max(actual for _, actual in pairs):.0f} s"
    )


def folder_rate(stack: Stack, contents: list[bytes], folder: Path) -> str:
    """Time the folder script for JOBS photos, from its start to its exit."""
    source = folder / "photos"
    for number in range(JOBS):
        path = source / f"{number % 10}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[number % len(contents)])
    command = [sys.executable, "scripts/submit_folder.py", str(source), "--out", str(folder / "masks")]
    before, started, cpu = cpu_ms(stack), time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--url", str(stack.http.base_url), "--json"], cwd=ROOT, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = {name: (now - before[name]) / JOBS for name, now in cpu_ms(stack).items()}
    spent["script"] = (after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime) * 1000 / JOBS
    each = ", ".join(f"{name} {ms:.1f}" for name, ms in spent.items())
    return f"folder script, {JOBS} photos: {JOBS / wall:.0f} images/s; CPU ms per image: {each}"


def add_and_kill_worker(stack: Stack) -> None:
    """Start a second worker, let it work for a while and kill it."""
    time.sleep(4)
    second = stack.run_line("worker", stack.var / "second.log")
    time.sleep(9)
    second.kill()
    second.wait()


def cpu_ms(stack: Stack) -> dict[str, float]:
    """CPU milliseconds so far, per process type, children included."""
    return {name: sum(tree_ms(pid) for pid in stack.pids(mark)) for name, mark in PROCESSES.items()}


def tree_ms(pid: int) -> float:
    if not command_line(pid):
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
    return own + sum(tree_ms(child) for child in children(pid))


@contextmanager
def running(workers: int) -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder), workers)
        print(stack.start().strip())
        try:
            yield stack
        finally:
            stack.http.close()
            stack.stop()


def report(stack: Stack, workers: int, contents: list[bytes], bare: float) -> None:
    throughput(stack, contents[:1])  # warms engines and connections
    idle = idle_latency_ms(stack, contents[0])
    name = f"{workers} worker(s)"
    print(
        f"{name}, idle: POST to mask {statistics.median(idle):.0f} ms median, {max(idle):.0f} ms worst of {len(idle)}"
    )
    before = cpu_ms(stack)
    done, submitted = throughput(stack, contents)
    spent = {name: (after - before[name]) / JOBS for name, after in cpu_ms(stack).items()}
    share, mean = done / (bare * min(workers, os.cpu_count() or 1)), stack.queue()["mean_micro_batch"]
    print(f"{name}, {JOBS} jobs: {done:.0f} images/s, {share:.2f} of {workers} x bare work; accepted {submitted:.0f}/s")
    print(
        f"  mean micro-batch {mean}; CPU ms per image: " + ", ".join(f"{name} {ms:.1f}" for name, ms in spent.items())
    )


def main() -> None:
    logging.basicConfig(level=logging.ERROR)  # each of thousands of adopted jobs would log a line
    contents = photos()
    bare, cpu = bare_work(contents)
    print(f"bare work at {SIZE[0]}x{SIZE[1]} (decode, infer, encode): {bare:.0f} images/s, {cpu:.1f} CPU ms each")
    for workers in (1, 2):
        with running(workers) as stack:
            report(stack, workers, contents, bare)
            print(f"{workers} worker(s), {folder_rate(stack, contents, stack.var)}")
            print(f"{workers} worker(s): {eta_errors(stack, contents, lambda: None)}")
    with running(1) as stack:
        throughput(stack, contents[:1])
        print(
            f"1 worker, a second joins and is killed: {eta_errors(stack, contents, lambda: add_and_kill_worker(stack))}"
        )
    with running(1) as stack:
        records.hot_path(stack, lambda: one_throughput(stack, contents), cpu_ms)
    records.main()
    print("The queue in Redis:")
    queue_cost.main()
    rebuild.main()


if __name__ == "__main__":
    main()
