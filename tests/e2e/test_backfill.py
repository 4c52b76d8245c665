"""`segue backfill` on a running stack, after a promotion."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pictures
import pytest
import services
from damage import stopped
from services import wait_until
from stack import Stack, children
from teaching import segue

from storage import keys
from storage.backfill.reruns import PARTY
from storage.connection import Storage, connect

PHOTOS, OLD, NEW = 40, "pets/2", "pets/3"
WORKER = "-Q segment"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, list[Document]]]:
    """A stack whose stable is `pets/3`, and jobs that `pets/2` has ended before."""
    with Stack(tmp_path_factory.mktemp("backfill"), workers=1) as stack:
        segue(stack, "models", "promote", OLD)
        first = first_by(stack, OLD)
        others = stack.submit_all([pictures.jpeg(160, 120, seed) for seed in range(1, PHOTOS)])
        jobs = [first, *stack.all_finished(others)]
        segue(stack, "models", "promote", NEW)
        yield stack, jobs


def first_by(stack: Stack, version: str) -> Document:
    """The first job that the version ends after its promotion."""
    ended = []

    def serves() -> bool:
        ended.append(stack.finished(stack.submit(pictures.jpeg())))
        return "/".join(ended[-1]["model"].values()) == version

    wait_until(serves, version)
    return ended[-1]


@pytest.fixture
def storage(promoted: tuple[Stack, list[Document]]) -> Iterator[Storage]:
    with closing(connect(promoted[0].settings())) as made:
        yield made


def reruns(storage: Storage, jobs: list[Document]) -> dict[str, list[str]]:
    return {job["id"]: storage.objects.reruns("local", job["id"]) for job in jobs}


@contextmanager
def backfilling(stack: Stack, *options: object) -> Iterator["subprocess.Popen[str]"]:
    """The command as a process. It has queued photos when this begins."""
    command = [sys.executable, "-m", "segue", "backfill", *map(str, options)]
    env = {**stack.environment(), "PYTHONPATH": services.PYTHONPATH}
    with subprocess.Popen(command, env=env, cwd=services.ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "photos queued" in process.stderr.readline()
        try:
            yield process
        finally:
            process.kill()


def workers(stack: Stack) -> list[int]:
    parents = stack.pids(WORKER)
    return [*parents, *(child for parent in parents for child in children(parent))]


def test_a_backfill_stopped_in_the_middle(promoted: tuple[Stack, list[Document]], storage: Storage) -> None:
    """Counted, interrupted, killed, continued: each photo has one re-run, the old results stay."""
    stack, jobs = promoted
    least_confident_first = sorted(jobs, key=lambda job: (job["result"]["confidence"], job["id"]))
    wait_until(lambda: forecast(stack)["photos"] == PHOTOS, "the records")
    counted = forecast(stack)
    assert counted["version"] == NEW
    assert counted["eta_s"] > 0
    assert counted["expected_changes"] is None
    assert sum(one["photos"] for one in counted["bins"]) == PHOTOS
    assert f"{NEW}: {PHOTOS} photos\n" in segue(stack, "backfill", "--dry-run")
    with stopped(workers(stack)):
        with backfilling(stack, "--disagreement", "--ahead", 4) as process:
            process.send_signal(signal.SIGINT)
            assert process.wait(services.PATIENCE_S) == 130
        waiting = storage.jobs.client.zrange(keys.party_queue(keys.Lane.BULK, PARTY, NEW), 0, -1)
        assert waiting == [keys.rerun(job["id"], NEW) for job in least_confident_first[:4]]
    with backfilling(stack, "--disagreement", "--ahead", 4):
        pass  # killed
    made = sum(map(len, reruns(storage, jobs).values()))
    assert 4 < made < PHOTOS
    segue(stack, "backfill", "--disagreement", "--ahead", 4)
    wait_until(lambda: counts(stack)["succeeded"] == PHOTOS, "the re-runs")
    assert reruns(storage, jobs) == {job["id"]: [keys.rerun(job["id"], NEW)] for job in jobs}
    assert forecast(stack)["photos"] == 0
    assert f"local                succeeded        {PHOTOS} succeeded" in segue(stack, "backfill", "--status")
    segue(stack, "doctor")
    for before in jobs:
        after = stack.http.get(before["links"]["self"]).json()
        newer = stack.http.get(after["newer"]["links"]["self"]).json()
        assert (after["newer"]["id"], "/".join(newer["model"].values())) == (keys.rerun(before["id"], NEW), NEW)
        assert after == {**before, "newer": after["newer"]}
        assert stack.http.get(after["links"]["mask"]).status_code == 200


def test_an_erased_job_takes_its_rerun_with_it(promoted: tuple[Stack, list[Document]]) -> None:
    stack, _ = promoted
    segue(stack, "models", "promote", OLD)
    old = first_by(stack, OLD)
    segue(stack, "models", "promote", NEW)
    wait_until(lambda: forecast(stack)["photos"] == 1, "the record")
    segue(stack, "backfill")
    newer = f"/v1/jobs/{keys.rerun(old['id'], NEW)}"
    wait_until(lambda: stack.http.get(newer).json()["status"] == "succeeded", "the re-run")
    answer = stack.http.get(old["links"]["self"])
    assert answer.json()["newer"]["links"]["self"] == newer
    unchanged = stack.http.get(old["links"]["self"], headers={"If-None-Match": answer.headers["ETag"]})
    assert unchanged.status_code == 304
    assert stack.http.delete(old["links"]["self"]).status_code == 204
    assert [stack.http.get(path).status_code for path in (old["links"]["self"], newer)] == [410, 410]


def test_a_version_that_is_not_there(promoted: tuple[Stack, list[Document]]) -> None:
    assert "pets/99 is not in the registry" in segue(promoted[0], "backfill", "--version", "pets/99", fails=True)


def forecast(stack: Stack) -> Document:
    return dict(json.loads(segue(stack, "backfill", "--disagreement", "--dry-run", "--json")))


def counts(stack: Stack) -> Document:
    [row] = json.loads(segue(stack, "backfill", "--status", "--json"))
    return dict(row)
