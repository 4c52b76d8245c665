"""Two shards, each a complete installation, behind one address. nginx alone knows that there are two."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import damage
import httpx
import pictures
import pytest
import services
from balancing import at, nginx_alone
from callers import bearer
from stack import Stack

from storage.connection import connect

JOBS = 12
PATIENCE_S = 70
Outage = Callable[[Stack], AbstractContextManager[None]]
SESSION, CSRF = "segue_session", "segue_csrf"


class Shard:
    """An installation, and the key of its only tenant. `http` sends requests with the key to nginx."""

    def __init__(self, name: str, stack: Stack, url: str) -> None:
        self.name, self.stack = name, stack
        self.key = new_key(stack, f"tenant-of-{name}")
        self.http = httpx.Client(base_url=url, headers=bearer(self.key), timeout=PATIENCE_S)

    def submit(self, number: int = 0) -> httpx.Response:
        headers = {"Content-Type": "image/jpeg"}
        return self.http.post("/v1/jobs", content=pictures.jpeg(160, 120, number), headers=headers)

    def finished(self, answer: httpx.Response) -> dict[str, Any]:
        """Wait for the job of a submission. Every answer must be a success."""
        assert answer.is_success, answer.text
        job = dict(answer.json())
        while job["status"] in ("queued", "running"):
            answer = self.http.get(job["links"]["self"], headers={"Prefer": "wait=10"})
            assert answer.is_success, answer.text
            job = answer.json()
        return job

    def segment(self, number: int = 0) -> dict[str, Any]:
        return self.finished(self.submit(number))

    def holds(self, job_id: str) -> set[str]:
        """Where the shard keeps this job: in Redis, in the bucket of uploads, in that of results."""
        storage = connect(self.stack.settings())
        try:
            found = {f"Redis: {storage.jobs.get(job_id) is not None}"}
            for bucket in ("uploads", "results"):
                found.add(f"{bucket}: {any(job_id in each.key for each in storage.objects.listing(bucket, ''))}")
        finally:
            storage.close()
        return found


def new_key(stack: Stack, tenant: str) -> str:
    """Create a key as the operator of one shard does, whose settings are in $VAR/env."""
    command = [sys.executable, "-m", "segue", "keys", "create", "--tenant", tenant, "--json"]
    env = services.environment(VAR=stack.var)
    done = subprocess.run(command, env=env, cwd=services.ROOT, capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)["key"])


@pytest.fixture(scope="module")
def shards(nginx: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shard, Shard]]:
    with ExitStack() as opened:
        how = {"workers": 1, "REQUIRE_KEYS": 1, "TRUSTED_PROXY": "127.0.0.1"}
        stacks = {
            name: opened.enter_context(Stack(tmp_path_factory.mktemp(name), SHARD=name, **how)) for name in ("a", "b")
        }
        servers = " ".join(f"{name}={at(stack.port)}" for name, stack in stacks.items())
        port = opened.enter_context(nginx_alone(tmp_path_factory.mktemp("nginx"), SHARDS=servers))
        a, b = (Shard(name, stack, f"http://127.0.0.1:{port}") for name, stack in stacks.items())
        opened.enter_context(a.http)
        opened.enter_context(b.http)
        yield a, b


@pytest.fixture
def browser(shards: tuple[Shard, Shard]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shards[0].http.base_url, timeout=PATIENCE_S) as http:
        yield http


def sign_in(browser: httpx.Client, key: str) -> None:
    assert browser.post("/session", headers=bearer(key)).status_code == 204


def csrf(browser: httpx.Client) -> dict[str, str]:
    return {"X-CSRF-Token": browser.cookies[CSRF]}


def test_two_tenants_upload_at_once_through_one_address(shards: tuple[Shard, Shard]) -> None:
    a, b = shards
    assert [shard.key.split("_")[1] for shard in shards] == ["a", "b"]
    with ThreadPoolExecutor(8) as pool:
        running = [(shard, pool.submit(shard.segment, number)) for number in range(JOBS) for shard in shards]
    jobs = {shard.name: [job.result() for owner, job in running if owner is shard] for shard in shards}
    assert {job["status"] for made in jobs.values() for job in made} == {"succeeded"}
    for shard, other in ((a, b), (b, a)):
        job, foreign = jobs[shard.name][0], jobs[other.name][0]
        assert shard.http.get(job["links"]["mask"]).content.startswith(b"\x89PNG")
        assert shard.http.get(foreign["links"]["self"]).status_code == 404
        assert shard.holds(job["id"]) == {"Redis: True", "uploads: True", "results: True"}
        assert shard.holds(foreign["id"]) == {"Redis: False", "uploads: False", "results: False"}
        own = {job["id"] for job in jobs[shard.name]}
        services.wait_until(lambda shard=shard, own=own: listed(shard) == own, "the records")


def listed(shard: Shard) -> set[str]:
    """The ids of all jobs that the shard's tenant has sent."""
    return {job["id"] for job in shard.http.get("/v1/jobs", params={"limit": 200}).json()["data"]}


def test_a_session_stays_with_the_shard_of_its_key(shards: tuple[Shard, Shard], browser: httpx.Client) -> None:
    _, b = shards
    sign_in(browser, b.key)
    assert browser.cookies[SESSION].startswith("b~")
    photo = {"image": ("cat.jpg", pictures.jpeg(160, 120), "image/jpeg")}
    assert browser.post("/v1/jobs", files=photo).status_code == 403
    created = browser.post("/v1/jobs", files=photo, headers={**csrf(browser), "Prefer": "wait=60"})
    assert created.is_success, created.text
    assert b.http.get(created.json()["links"]["self"]).status_code == 200
    assert browser.get(created.json()["links"]["mask"]).content.startswith(b"\x89PNG")
    token = browser.cookies[SESSION]
    assert browser.delete("/session", headers=csrf(browser)).status_code == 204
    assert browser.get("/v1/queue", headers={"Cookie": f"{SESSION}={token}"}).status_code == 401


def test_a_browser_changes_to_another_shard(shards: tuple[Shard, Shard], browser: httpx.Client) -> None:
    for shard in (*shards, shards[0]):
        sign_in(browser, shard.key)
        job = shard.segment()
        assert browser.get(job["links"]["self"]).status_code == 200


def test_a_changed_credential_is_refused_by_every_shard(shards: tuple[Shard, Shard], browser: httpx.Client) -> None:
    a, b = shards
    rest = b.key.removeprefix("seg_b_")
    sign_in(browser, b.key)
    token = browser.cookies.pop(SESSION).removeprefix("b~")
    wrong = [
        *(bearer(f"seg_{name}{rest}") for name in ("a_", "c_", "B_", "", "b_b_", "b__")),
        bearer(b.key.upper()),
        bearer(f"x {b.key}"),
        bearer(f"{a.key} {b.key}"),
        {"Authorization": f"Basic {b.key}"},
        {"Authorization": b.key},
        *({"Cookie": f"{SESSION}={name}{token}"} for name in ("a~", "c~", "B~", "", "b~b~", "b~~")),
        {"Cookie": f"{SESSION}=a~{token}; {SESSION}=b~{token}"},
        {"Cookie": f"__Host-{SESSION}=b~{token}"},
        {"Cookie": f"{SESSION}=b~{token}", **bearer(f"seg_a_{rest}")},
    ]
    answers = [browser.get("/v1/queue", headers=headers).status_code for headers in wrong]
    assert answers == [401] * len(wrong)
    right: list[dict[str, str]] = [bearer(b.key), {"Cookie": f"{SESSION}=b~{token}"}]
    assert [browser.get("/v1/queue", headers=headers).status_code for headers in right] == [200, 200]
    twice = [("Authorization", f"Bearer {b.key}"), ("Authorization", f"Bearer {a.key}")]
    assert browser.get("/v1/queue", headers=twice).status_code in (400, 401)


def test_a_tenant_moves_with_a_new_key(shards: tuple[Shard, Shard]) -> None:
    """Its jobs stay where they are, for the old key."""
    http = shards[0].http
    old, new = (bearer(new_key(shard.stack, "mover")) for shard in shards)
    how = {"Content-Type": "image/jpeg", "Prefer": "wait=60"}
    before, after = (
        http.post("/v1/jobs", content=pictures.jpeg(160, 120), headers={**how, **key}).json() for key in (old, new)
    )
    for job, right, wrong in ((before, old, new), (after, new, old)):
        assert job["status"] == "succeeded"
        assert http.get(job["links"]["mask"], headers=right).is_success
        assert http.get(job["links"]["mask"], headers=wrong).status_code == 404


@contextmanager
def dead(stack: Stack, pids: Iterable[int]) -> Iterator[None]:
    """Kill the processes and restart them after the block."""
    with damage.unsupervised(stack):
        assert damage.kill(pids)
        yield


def dead_redis(stack: Stack) -> AbstractContextManager[None]:
    return dead(stack, [damage.redis_server(stack)])


def hung_redis(stack: Stack) -> AbstractContextManager[None]:
    return damage.stopped([damage.redis_server(stack)])


def dead_web(stack: Stack) -> AbstractContextManager[None]:
    [pid] = stack.pids(damage.WEB)
    return dead(stack, [pid, *damage.family(pid)])


@pytest.mark.parametrize("outage", [dead_redis, hung_redis, dead_web])
def test_an_outage_of_one_shard_disturbs_no_other(shards: tuple[Shard, Shard], outage: Outage) -> None:
    a, b = shards
    with ThreadPoolExecutor(8) as pool:
        before = [a.submit(number) for number in range(JOBS)]
        with outage(a.stack):
            refused = [pool.submit(a.submit, number) for number in range(4)]
            done = [b.segment(number) for number in range(JOBS)]
            assert {one.result().status_code for one in refused} == {503}
    assert {(job["status"], job["attempt"]) for job in done} == {("succeeded", 1)}
    services.wait_until(lambda: a.http.get("/readyz").is_success, "shard a")
    services.wait_until(lambda: a.submit().is_success, "uploads to shard a")
    assert {a.finished(answer)["status"] for answer in before} == {"succeeded"}
