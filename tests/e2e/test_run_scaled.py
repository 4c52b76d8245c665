"""`make run-scaled`: nginx in front of two web servers, one of which is killed under load."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pictures
import pytest
import services
from balancing import at, nginx_alone
from certificates import Authority
from stack import Stack, children

from storage.problems import Problem

THREADS = 6
JOBS = 30
PATIENCE_S = 70  # longer than the 30 s that a key of a killed server stays busy


class Scaled(Stack):
    """A stack with two web servers behind nginx."""

    def __init__(self, var: Path) -> None:
        first = services.free_ports(2)
        self.web_ports = [first, first + 1]
        super().__init__(var, workers=1, WEBS=2, WEB_PORT=first)

    def wait_for_webs(self) -> None:
        services.wait_until(lambda: all(map(is_ready, self.web_ports)), "both web servers")

    def signal_web(self, how: signal.Signals) -> None:
        """Signal all processes of the first web server."""
        pid = self.pids("gunicorn")[0]
        for each in (pid, *children(pid)):
            os.kill(each, how)

    def job_ids(self, tag: str) -> set[str]:
        """The jobs with this tag among the last 200. They are read from the records, which are seconds behind."""
        listed = self.http.get("/v1/jobs", params={"limit": 200}).json()["data"]
        return {job["id"] for job in listed if tag in job["tags"]}


def is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def scaled(nginx: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scaled]:
    with Scaled(tmp_path_factory.mktemp("scaled")) as made:
        yield made


@pytest.fixture
def whole(scaled: Scaled) -> Scaled:
    """The stack while nginx uses both web servers."""
    scaled.wait_for_webs()
    time.sleep(2.5)  # longer than `fail_timeout`, for which nginx avoids a server that was dead
    return scaled


def submit(stack: Stack, tag: str, index: int, key: str = "") -> httpx.Response:
    """Send a photo once, on its own connection."""
    headers = {"Content-Type": "image/jpeg", **({"Idempotency-Key": key} if key else {})}
    content = pictures.jpeg(320, 240, index)
    url = f"{stack.http.base_url}/v1/jobs"
    return httpx.post(url, content=content, headers=headers, params={"tags": tag}, timeout=PATIENCE_S)


def submit_and_wait(stack: Stack, tag: str, index: int, key: str = "") -> httpx.Response:
    """Send a photo and wait for its job. Returns the last answer; sends no request twice."""
    answer = submit(stack, tag, index, key)
    while answer.is_success and answer.json()["status"] in ("queued", "running"):
        url = f"{stack.http.base_url}{answer.json()['links']['self']}"
        answer = httpx.get(url, headers={"Prefer": "wait=10"}, timeout=PATIENCE_S)
    return answer


@pytest.mark.parametrize("keyed", [True, False], ids=["with keys", "without keys"])
def test_a_web_server_dies_under_load(whole: Scaled, keyed: bool) -> None:
    """Six threads submit and wait. A request fails only if it is a POST that the killed server was handling."""
    tag = f"load-{keyed}"
    with ThreadPoolExecutor(THREADS) as pool:
        keys = [f"{tag}-{index}" if keyed else "" for index in range(JOBS)]
        running = [pool.submit(submit_and_wait, whole, tag, index, key) for index, key in enumerate(keys)]
        services.wait_until(lambda: sum(one.done() for one in running) > JOBS // 4, "the first jobs")
        whole.signal_web(signal.SIGKILL)
    answers = [one.result() for one in running]
    refused = [answer for answer in answers if not answer.is_success]
    ended = [answer.json() for answer in answers if answer.is_success]
    assert {(job["status"], job["attempt"]) for job in ended} == {("succeeded", 1)}
    assert len(refused) <= THREADS
    code = "idempotency_in_progress" if keyed else "unavailable"
    assert all((one.request.method, one.json()["code"]) == ("POST", code) for one in refused), refused
    whole.wait_for_webs()
    known = {job["id"] for job in ended}
    services.wait_until(lambda: known <= whole.job_ids(tag), "the records")
    assert len(whole.job_ids(tag) - known) <= len(refused), "a request has created two jobs"


@pytest.mark.parametrize("keyed", [True, False], ids=["with keys", "without keys"])
def test_nginx_repeats_an_unanswered_post_only_if_it_has_a_key(whole: Scaled, keyed: bool) -> None:
    """Some photos reach a web server that is stopped and then killed. They were sent to it completely."""
    tag = f"stuck-{keyed}"
    with ThreadPoolExecutor(THREADS) as pool:
        whole.signal_web(signal.SIGSTOP)
        try:
            sent = [pool.submit(submit, whole, tag, n, f"{tag}-{n}" if keyed else "") for n in range(THREADS)]
            services.wait_until(lambda: any(one.done() for one in sent), "the other server's first answer")
            time.sleep(2)  # its other answers
            stuck = [one for one in sent if not one.done()]
        finally:
            whole.signal_web(signal.SIGKILL)
    assert 0 < len(stuck) < THREADS
    assert {one.result().status_code for one in sent if one not in stuck} == {202}
    for answer in (one.result() for one in stuck):
        assert answer.status_code == (202 if keyed else 503)
        if not keyed:
            assert is_problem(answer, "unavailable")
            assert answer.headers["Retry-After"] == str(answer.json()["retry_after_s"])


def is_problem(answer: httpx.Response, code: str) -> bool:
    """Whether nginx' own answer is the problem document that the web server would send."""
    document = answer.json()
    as_web = Problem(code, document["detail"], document.get("retry_after_s")).to_dict("/")
    assert answer.headers["Content-Type"] == "application/problem+json"
    return bool(document == as_web and answer.status_code == as_web["status"])


def test_a_body_beyond_the_limit_is_refused_with_a_problem(scaled: Scaled) -> None:
    large = b"0" * (40 * 1024 * 1024 + 1)
    answer = scaled.http.post("/v1/jobs", content=large, headers={"Content-Type": "image/jpeg"})
    assert is_problem(answer, "payload_too_large")
    assert answer.headers["Server"] == "nginx"  # without its version


def test_a_malformed_request_is_refused_with_a_problem(scaled: Scaled) -> None:
    assert is_problem(scaled.http.get("/readyz", headers={"X-Long": "x" * 40_000}), "invalid_request")


def test_metrics_are_not_reachable(scaled: Scaled) -> None:
    assert is_problem(scaled.http.get("/metrics"), "not_found")


def test_the_access_log_names_no_job_key_or_tag(whole: Scaled) -> None:
    job = submit(whole, "a-private-tag", 1, "a-private-key").json()
    whole.finished(job)
    text = (whole.var / "log" / "nginx_0.log").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert any(line["method"] == "POST" and line["status"] == 202 and line["request_id"] for line in lines)
    assert job["id"] not in text
    assert "private" not in text


def test_without_a_live_web_server_the_answer_is_a_problem(nginx: None, tmp_path: Path) -> None:
    first = services.free_ports(2)
    with nginx_alone(tmp_path, WEB_SERVERS=at(first, first + 1)) as port:
        answer = httpx.get(f"http://127.0.0.1:{port}/v1/jobs/job_1")
    assert is_problem(answer, "unavailable")
    assert answer.headers["Retry-After"] == "2"


def test_with_a_certificate_nginx_accepts_only_tls(whole: Scaled, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pem = authority.server_file()
    tls = {"TLS_CERTIFICATE": pem, "TLS_KEY": pem, "ADDRESS": "0.0.0.0"}
    trusted = ssl.create_default_context(cafile=authority.ca)
    with nginx_alone(tmp_path, WEB_SERVERS=at(*whole.web_ports), **tls) as port:
        assert httpx.get(f"https://127.0.0.1:{port}/readyz", verify=trusted).json()["status"] == "ready"
        plain = httpx.get(f"http://127.0.0.1:{port}/readyz")
    assert is_problem(plain, "invalid_request")


def test_another_address_needs_a_certificate(nginx: None, tmp_path: Path) -> None:
    settings = {"VAR": tmp_path, "PORT": services.free_ports(8), "WEBS": 2, "ADDRESS": "0.0.0.0", "S3_PORT": 0}
    settings["REDIS_PORT"] = settings["WEB_PORT"] = int(settings["PORT"]) + 1
    done = subprocess.run(
        [sys.executable, "scripts/run.py"], env=services.environment(**settings), cwd=services.ROOT,
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ADDRESS=0.0.0.0 lets others call" in done.stderr
