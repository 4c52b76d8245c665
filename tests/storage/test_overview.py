"""`segue top`: a snapshot of the installation, from a real Redis."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import services
from operating import ran
from rich.console import Console
from specs import spec

from cli.top import render
from storage.connection import Storage
from storage.job import Finished, Outcome, Status
from storage.keys import Lane
from storage.offer import EnginesReport
from storage.problems import Problem
from storage.queue import overview as overviews
from storage.queue.jobs import RedisJobs
from storage.queue.overview import Overview, PartyState, StageState, overview

DONE = Outcome(Status.SUCCEEDED, {"name": "pets", "version": "3"}, {"width": 64}, {"fetch": 2, "infer": 40})


@pytest.fixture
def busy(connection: Storage) -> Storage:
    """Two tenants wait; worker `a` ended ten jobs, one of them a failure; `b` is idle."""
    jobs = connection.jobs
    for number in range(10):
        end(jobs, "a", Problem("poisoned", "No.") if number == 0 else None)
    for tenant, count, lane in (("acme", 3, Lane.BULK), ("umbrella", 5, Lane.BULK), ("acme", 1, Lane.INTERACTIVE)):
        for number in range(count):
            jobs.enqueue(spec(tenant=tenant, lane=lane, model="stable" if number % 2 else "pets/3"))
    jobs.workers.beat("a", 60_000, 150_000_000)
    jobs.workers.beat("b", 60_000)
    jobs.workers.report("a", EnginesReport(["pets/3"], {"pets/3": "pets/3: altered"}), [], [])
    return connection


def end(jobs: RedisJobs, worker: str, problem: Problem | None) -> None:
    jobs.enqueue(spec())
    [job] = jobs.claim("token", "drainer", worker)
    outcome = Outcome.of_problem(job.id, problem, {"fetch": 12}) if problem else DONE
    jobs.finish("token", worker, 1, [Finished(job.id, "key", outcome)])


def test_the_snapshot_shows_queue_workers_stages_and_failures(busy: Storage) -> None:
    found = overview(busy.jobs, 2)
    assert {one.lane: (one.pending, one.running) for one in found.lanes} == {"interactive": (1, 0), "bulk": (8, 0)}
    assert found.parties == [
        PartyState(Lane.BULK, "umbrella", 5), PartyState(Lane.BULK, "acme", 3), PartyState(Lane.INTERACTIVE, "acme", 1)
    ]  # fmt: skip
    a, b = found.workers
    assert (a.worker, a.models, a.refused, a.memory_bytes) == (
        "a",
        ["pets/3"],
        {"pets/3": "pets/3: altered"},
        150_000_000,
    )
    assert (b.worker, b.models, b.images_per_s, b.memory_bytes) == ("b", [], 0, 0)
    assert found.images_per_s == a.images_per_s == 10 / overviews.RECENT_S
    assert found.stages == [StageState("fetch", 2, pytest.approx(7.5)), StageState("infer", 40, 40)]
    assert found.recent_failures == {"poisoned": 1}
    assert (found.counters.accepted, found.counters.attempts, found.counters.failed["poisoned"]) == (19, 10, 1)


def test_the_rate_is_that_of_the_jobs_that_were_read(busy: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a high rate, the last MOST_RECENT jobs reach back less than RECENT_S."""
    monkeypatch.setattr(overviews, "MOST_RECENT", 4)
    assert overview(busy.jobs, 2).images_per_s > 4 / overviews.RECENT_S


def test_an_empty_redis_has_a_snapshot(connection: Storage) -> None:
    found = overview(connection.jobs, 1)
    assert (found.parties, found.workers, found.stages, found.recent_failures) == ([], [], [], {})
    assert "images/s" in shown(found)


def shown(found: Overview) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render(found))
    return captured.get()


def test_the_view_names_what_the_snapshot_holds(busy: Storage) -> None:
    text = shown(overview(busy.jobs, 2))
    for words in ("umbrella", "pets/3, refuses pets/3: altered", "150", "infer", "poisoned"):
        assert words in text


def test_a_name_cannot_control_the_terminal(busy: Storage) -> None:
    busy.jobs.enqueue(spec(tenant="[bold]\x1b]0;x"))
    text = shown(overview(busy.jobs, 2))
    assert "[bold]?]0;x" in text
    assert "\x1b]0" not in text


def run(connection: Storage, *options: str) -> "subprocess.CompletedProcess[str]":
    env = services.joining(connection.settings, PYTHONPATH=services.PYTHONPATH)
    return ran(env, "top", *options)


def test_the_command_prints_one_snapshot(busy: Storage) -> None:
    done = run(busy, "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert [one["party"] for one in document["parties"]] == ["umbrella", "acme", "acme"]
    assert document["counters"]["ended"]["succeeded"] == 9
    assert "umbrella" in run(busy, "--once").stdout


def test_the_live_view_outlives_an_outage_and_ends_with_an_interrupt(busy: Storage, tmp_path: Path) -> None:
    """Runs on a terminal, with a Redis of its own."""
    server = services.start_redis(tmp_path)
    settings = busy.settings.replace(redis_url=f"redis://127.0.0.1:{server.port}/0")
    env = services.joining(settings, PYTHONPATH=services.PYTHONPATH, TERM="xterm", COLUMNS=120, LINES=60)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "segue", "top", "--every", "0.2"]
    with subprocess.Popen(command, env=env, cwd=services.ROOT, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        read_until(ours, b"images/s")
        server.stop()
        read_until(ours, b"Redis does not answer")
        server.start_again()
        read_until(ours, b"images/s")
        process.send_signal(signal.SIGINT)
        read_until(ours, b"\x1b[?1049l")  # back to the screen before
        assert process.wait(services.PATIENCE_S) == 130
    os.close(ours)
    server.stop()


def read_until(terminal: int, words: bytes) -> None:
    seen = b""
    while words not in seen:
        assert select.select([terminal], [], [], services.PATIENCE_S)[0], f"{words!r} is not in {seen[-500:]!r}"
        seen += os.read(terminal, 65536)


def test_without_redis_the_command_says_so(busy: Storage) -> None:
    gone = Storage(
        **{**vars(busy), "settings": busy.settings.replace(redis_url=f"redis://127.0.0.1:{services.free_ports(1)}/0")}
    )
    done = run(gone, "--json")
    assert done.returncode == 1
    assert done.stderr.startswith("not available: ")
