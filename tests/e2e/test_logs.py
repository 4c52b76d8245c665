"""One job can be followed through the lines of all processes, and they contain nothing personal."""

import json
import time
from collections.abc import Iterator
from typing import Any

import damage
import pictures
import pytest
import services
from operating import ran
from stack import Stack

from storage import keys
from storage.connection import connect

NAME, ITEM = "grandmother-at-the-beach.jpg", "family/my-secret-son.jpg"
TAG, AGENT = "holiday-with-anna", "annas-browser"
TENANT, CLIENT, REQUEST = "annas-tenant", "203.0.113.77", "order-4711"
TRACE = "0af7" * 8
PARENT = f"00-{TRACE}-{'b7ad' * 4}-01"
OURS = ("web", "worker", "housekeeper")
# Lines that libraries write to stderr themselves: LiteRT when it loads a model, Celery when it ends.
NOT_LOGGED = {"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", "", "worker: Warm shutdown (MainProcess)"}

Line = dict[str, Any]


@pytest.fixture(scope="module")
def logging_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that logs JSON, requires keys, and trusts this machine as a proxy."""
    var = tmp_path_factory.mktemp("logging")
    with Stack(var, 1, LOG_FORMAT="json", REQUIRE_KEYS=1, TRUSTED_PROXY="127.0.0.1", SWEEP_S=1) as made:
        yield made


def segue(stack: Stack, *words: str) -> str:
    done = ran({**stack.environment(), "PYTHONPATH": services.PYTHONPATH}, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def key(logging_stack: Stack) -> str:
    made = segue(logging_stack, "keys", "create", "--tenant", TENANT).split()
    [key] = [word for word in made if word.startswith("seg_")]
    logging_stack.http.headers.update(
        {"Authorization": f"Bearer {key}", "X-Forwarded-For": CLIENT, "User-Agent": AGENT, "X-Forwarded-Proto": "http"}
    )
    return key


@pytest.fixture(scope="module")
def job(logging_stack: Stack, key: str) -> Line:
    """A finished job with a personal name."""
    headers = {"X-Request-ID": REQUEST, "traceparent": PARENT}
    files = {"image": (NAME, pictures.jpeg(), "image/jpeg")}
    answer = logging_stack.http.post("/v1/jobs", files=files, data={"tags": TAG}, headers=headers)
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (202, REQUEST)
    return logging_stack.finished(answer.json())


def lines(stack: Stack, program: str) -> list[Line]:
    """The lines of a program. Fails if one is not JSON."""
    logs = (stack.var / "log").glob(f"{program}_*.log")
    return [json.loads(line) for log in logs for line in log.read_text().splitlines() if line not in NOT_LOGGED]


def of(stack: Stack, program: str, event: str, **fields: str) -> list[Line]:
    wanted = {"event": event, **fields}.items()
    return [line for line in lines(stack, program) if wanted <= line.items()]


def test_every_line_of_every_process_is_an_event(logging_stack: Stack, job: Line) -> None:
    for program in OURS:
        written = lines(logging_stack, program)
        assert written, program
        assert all({"time", "level", "logger", "event"} <= line.keys() for line in written)


def test_a_job_is_followed_by_the_id_of_its_request(logging_stack: Stack, job: Line) -> None:
    [accepted] = of(logging_stack, "web", "job_accepted", request_id=REQUEST)
    [ended] = of(logging_stack, "worker", "job_ended", request_id=REQUEST)
    [handled] = of(logging_stack, "web", "request_handled", request_id=REQUEST)
    assert accepted["job"] == ended["job"] == job["id"]
    assert accepted["tenant"] == ended["tenant"] == handled["tenant"]
    assert (accepted["trace_id"], ended["trace_id"], handled["trace_id"]) == (TRACE,) * 3
    assert (ended["status"], ended["level"]) == ("succeeded", "INFO")
    assert ended["infer_ms"] == job["timings_ms"]["infer"]
    assert (handled["method"], handled["route"], handled["status"]) == ("POST", "/v1/jobs", 202)


def test_the_trace_command_shows_the_same_ids(logging_stack: Stack, job: Line) -> None:
    shown = segue(logging_stack, "trace", job["id"])
    assert f"request {REQUEST}, trace {TRACE}" in shown


def test_the_housekeeper_names_the_request_of_a_lost_lease(logging_stack: Stack, key: str) -> None:
    """While the worker is stopped, another one claims the job and lets its lease expire."""
    headers = {"X-Request-ID": "lost-lease", "Content-Type": "image/jpeg"}
    jobs = connect(logging_stack.settings().replace(lease_s=0.2)).jobs
    with damage.stopped(logging_stack.pids(damage.WORKER)):
        job = logging_stack.http.post("/v1/jobs", content=pictures.jpeg(), headers=headers).json()
        assert [one.id for one in jobs.claim(keys.new_token(), "drainer", "a worker that dies")] == [job["id"]]
        wanted = {"request_id": "lost-lease", "job": job["id"]}
        services.wait_until(lambda: of(logging_stack, "housekeeper", "lease_expired", **wanted), "the sweeper's line")
    logging_stack.finished(job)


def test_no_line_contains_anything_personal(logging_stack: Stack, job: Line, key: str) -> None:
    """Names, tags, keys, tenants and clients' addresses, also of requests that fail."""
    http = logging_stack.http
    made = http.post("/v1/batches", json={"name": NAME}).json()
    assert http.post(made["links"]["jobs"], files=[("image", (ITEM, pictures.jpeg(), "image/jpeg"))]).is_success
    broken = http.post("/v1/jobs", files={"image": (NAME, pictures.truncated_jpeg(), "image/jpeg")}, data={"tags": TAG})
    assert logging_stack.finished(broken.json())["status"] == "failed"
    for path in (f"/v1/jobs/{NAME}", f"/{ITEM}", f"/v1/jobs?status={TAG}"):
        assert http.get(path).is_client_error
    assert http.post("/v1/jobs", files={"image": (NAME, b"not a photo")}).is_client_error
    assert http.delete(job["links"]["self"]).status_code == 204
    services.wait_until(lambda: of(logging_stack, "worker", "job_ended", batch=made["id"]), "the item")
    time.sleep(2)  # the housekeeper's tasks run every second
    secrets = (NAME, ITEM, TAG, AGENT, TENANT, CLIENT, key, key.rpartition("_")[2])
    for log in sorted((logging_stack.var / "log").glob("*.log")):
        if log.name.startswith(OURS):
            assert not [word for word in secrets if word in log.read_text()], log.name
