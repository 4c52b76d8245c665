"""A rolling upgrade: programs of the previous version run beside those of this one, and nothing is lost."""

import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pictures
import pytest
import services
from stack import Stack

from storage.connection import connect

# The last release or, until there is one, the commit before the first that could be paused.
PREVIOUS = "cfbecee"
PARTS = ("client", "deploy", "model", "storage", "telemetry", "web", "worker")
JOBS = 200


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=services.ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous version's code."""
    if git("rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("this clone lacks the history that holds the previous version")
    folder = tmp_path_factory.mktemp("previous")
    git("archive", "--output", str(folder / "code.tar"), PREVIOUS, *PARTS)
    with tarfile.open(folder / "code.tar") as archive:
        archive.extractall(folder, filter="data")
    origin = [sys.executable, "-c", "import web, worker; print(web.__file__, worker.__file__)"]
    found = subprocess.run(origin, cwd="/", env=environment(folder), check=True, capture_output=True, text=True)
    assert found.stdout.split() == [str(folder / name / "__init__.py") for name in ("web", "worker")]
    return folder


def environment(code: Path) -> dict[str, str]:
    return services.environment(PYTHONPATH=f"{code}:{code / 'client'}")


def load_functions(stack: Stack, code: Path) -> None:
    """Do what the previous version's `segue setup` did: load its functions into Redis, which keeps them."""
    call = "from storage.queue import functions; from storage.settings import Settings as S; "
    call += "functions.load_when_it_answers(S().redis_url)"
    env = {**stack.environment(), **environment(code)}
    subprocess.run([sys.executable, "-c", call], cwd="/", env=env, check=True)


@contextmanager
def running(stack: Stack, name: str, code: Path, **changes: str) -> Iterator[int]:
    """One more process of the stack that runs another version's code. Gives its pid."""
    log = stack.var / f"previous-{name}.log"
    process = stack.run_line(name, log, code, PYTHONPATH=environment(code)["PYTHONPATH"], **changes)
    try:
        yield process.pid
    finally:
        process.terminate()
        assert process.wait(services.PATIENCE_S) == 0, log.read_text()[-2000:]


def test_two_versions_share_the_work_and_lose_nothing(stack: Stack, previous: Path) -> None:
    """At least 200 jobs, sent to both versions' web servers in turn, until both versions' workers have served some."""
    load_functions(stack, previous)
    port = services.free_ports(1)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=70)
    storage = connect(stack.settings())
    webs = cycle((stack.http, client))
    jobs: list[dict[str, Any]] = []
    with running(stack, "web", previous, PORT=str(port)), running(stack, "worker", previous) as worker, client:
        services.wait_until(lambda: is_ready(client), "the previous version's web server")

        def both_have_served() -> bool:
            jobs.extend(submitted(next(webs), pictures.jpeg(320, 240, seed % 20)) for seed in range(JOBS))
            ended = stack.all_finished(jobs[-JOBS:], 120)
            assert {job["status"] for job in ended} == {"succeeded"}
            found = storage.jobs.get_many([job["id"] for job in jobs])
            pids = {job.worker.rpartition("-")[2] for job in found if job}
            return str(worker) in pids and len(pids) > 1

        services.wait_until(both_have_served, "jobs that workers of both versions have served")
        for job in jobs[:10]:  # each version reads what the other one wrote
            masks = {http.get(f"/v1/jobs/{job['id']}/mask").content for http in (stack.http, client)}
            assert len(masks) == 1
    storage.close()


def is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def submitted(http: httpx.Client, photo: bytes) -> dict[str, Any]:
    answer = http.post("/v1/jobs", content=photo, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())
